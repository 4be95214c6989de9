"""The kernel's first stages, in Triton: from token ids to where the words of trace and answer begin and end.

One program reads one row, block by block. Every array is contiguous; a program's first lines move to its row.
Shapes: B rows, N tokens of all rows, C bytes of the longest row, W = C/2 + 1 words, V tokens known, F fields.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mbt_lite.rewards import characters
from mbt_lite.rewards.kernel_fields import (
    ANSWER_BEGIN,
    ANSWER_END,
    ANSWER_WORDS,
    BYTES,
    CHARACTERS,
    HAS_ANSWER,
    IS_FRAMED,
    NEEDS_LAW,
    STOPPED,
    THINK_OPEN_AT,
    TRACE_BEGIN,
    TRACE_CHARACTERS,
    TRACE_END,
    TRACE_WORDS,
    WELL_FORMED,
    F,
    eight_bytes,
)
from mbt_lite.text import completion

# Tags by number, and as the number that their first eight bytes make; `</answer>` has a ninth.
THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE = map(tl.constexpr, range(1, 5))
_THINK_OPEN = tl.constexpr(int.from_bytes(completion.THINK_OPEN.encode(), "little"))
_THINK_CLOSE = tl.constexpr(int.from_bytes(completion.THINK_CLOSE.encode(), "little"))
_ANSWER_OPEN = tl.constexpr(int.from_bytes(completion.ANSWER_OPEN.encode(), "little"))
_ANSWER_CLOSE = tl.constexpr(int.from_bytes(completion.ANSWER_CLOSE[:8].encode(), "little"))
_SEVEN_BYTES = tl.constexpr((1 << 56) - 1)

_CODES = tl.constexpr(characters.CHARACTERS)
_SPACE, _WORD = tl.constexpr(characters.SPACE), tl.constexpr(characters.WORD)
_LENGTH_SHIFT, _KIND_SHIFT = tl.constexpr(characters.LENGTH_SHIFT), tl.constexpr(characters.KIND_SHIFT)
_LAW_ENTRY = tl.constexpr(characters.LAW << characters.KIND_SHIFT)
_SPACE_ENTRY = tl.constexpr(ord(" ") | 1 << characters.LENGTH_SHIFT | characters.SPACE << characters.KIND_SHIFT)
_FOLDED_SPACE = tl.constexpr(ord(" ") | characters.SPACE << 8)
# Letters as they are folded: with their kind.
_A, _E, _H, _N, _T = (tl.constexpr(ord(letter) | characters.WORD << 8) for letter in "aehnt")


@triton.jit
def write_bytes(
    ids, starts, stop_ids, token_bytes, token_starts, text, fields,
    C, V, STOPS: tl.constexpr, PREFILLED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the bytes of each row's tokens; a stop token at the end has none, a prefilled `<think>` is written out.

    Shapes: ids [N], starts [B + 1], stop_ids [STOPS], token_bytes [bytes of all tokens], token_starts [V + 1]
    -> text [B, C], fields stopped, bytes
    """
    row = tl.program_id(0).to(tl.int64)
    ids += tl.load(starts + row)
    text += row * C
    length = tl.load(starts + row + 1) - tl.load(starts + row)
    last = tl.load(ids + length - 1, mask=length > 0, other=-1)
    stopped = length * 0
    for stop in tl.static_range(STOPS):
        stopped |= (last == tl.load(stop_ids + stop)).to(tl.int32)
    at = length * 0
    if PREFILLED:
        letter = tl.arange(0, 8)
        tag = tl.full([8], _THINK_OPEN, tl.uint64) >> (letter * 8).to(tl.uint64)
        tl.store(text + letter, (tag & 0xFF).to(tl.uint8), mask=letter < 7)
        at += 7
    for start in range(0, length - stopped, BLOCK):
        place = start + tl.arange(0, BLOCK)
        token = tl.load(ids + place, mask=place < length - stopped, other=V)
        known = token < V
        begin = tl.load(token_starts + token, mask=known, other=0)
        count = tl.load(token_starts + token + 1, mask=known, other=0) - begin
        target = at + tl.cumsum(count, 0) - count
        for offset in range(0, tl.max(count, 0)):
            byte = tl.load(token_bytes + begin + offset, mask=offset < count, other=0)
            tl.store(text + target + offset, byte, mask=offset < count)
        at += tl.sum(count, 0)
    tl.store(fields + row * F + STOPPED, stopped)
    tl.store(fields + row * F + BYTES, at)


@triton.jit
def mark_tags(text, tags, fields, C, BLOCK: tl.constexpr):
    """Write the number of the tag that begins at each byte, 0 for none.

    Shapes: text [B, C] -> tags [B, C]
    """
    row = tl.program_id(0).to(tl.int64)
    text += row * C
    tags += row * C
    size = tl.load(fields + row * F + BYTES)
    for start in range(0, size, BLOCK):
        place = start + tl.arange(0, BLOCK)
        number = eight_bytes(text, place, size)
        ninth = tl.load(text + place + 8, mask=place + 8 < size, other=0)
        tag = tl.where((number & _SEVEN_BYTES) == _THINK_OPEN, THINK_OPEN, 0)
        tag = tl.where(number == _THINK_CLOSE, THINK_CLOSE, tag)
        tag = tl.where(number == _ANSWER_OPEN, ANSWER_OPEN, tag)
        tag = tl.where((number == _ANSWER_CLOSE) & (ninth == 62), ANSWER_CLOSE, tag)
        tl.store(tags + place, tag.to(tl.uint8), mask=place < size)


@triton.jit
def find_spans(tags, fields, C, BLOCK: tl.constexpr):
    """Find trace and answer by the rules of text/completion.py; what is missing is an empty span at 0.

    `is_framed` is 1 iff each tag stands there once, in order.

    Shapes: tags [B, C] -> fields think_open, trace_begin, trace_end, answer_begin, answer_end, is_framed, has_answer
    """
    row = tl.program_id(0).to(tl.int64)
    tags += row * C
    fields += row * F
    size = tl.load(fields + BYTES)
    think_open = _first(tags, size, size * 0, THINK_OPEN, BLOCK)
    has_trace = think_open < size
    trace_begin = tl.where(has_trace, think_open + 7, 0)
    think_close = _first(tags, size, trace_begin, THINK_CLOSE, BLOCK)
    rest = tl.where(has_trace, tl.minimum(think_close + 8, size), 0)
    answer_open = size * 0 - 1
    count = size * 0
    for start in range(0, size, BLOCK):
        place = start + tl.arange(0, BLOCK)
        tag = tl.load(tags + place, mask=place < size, other=0)
        answer_open = tl.maximum(answer_open, tl.max(tl.where((tag == ANSWER_OPEN) & (place >= rest), place, -1), 0))
        count += tl.sum((tag > 0).to(tl.int32), 0)
    answer_close = _first(tags, size, tl.maximum(answer_open, rest), ANSWER_CLOSE, BLOCK)
    has_answer = (answer_open >= 0) & (answer_close < size)
    tl.store(fields + THINK_OPEN_AT, tl.where(has_trace, think_open, 0))
    tl.store(fields + TRACE_BEGIN, trace_begin)
    tl.store(fields + TRACE_END, tl.where(has_trace, think_close, 0))
    tl.store(fields + ANSWER_BEGIN, tl.where(has_answer, answer_open + 8, 0))
    tl.store(fields + ANSWER_END, tl.where(has_answer, answer_close, 0))
    tl.store(fields + IS_FRAMED, (has_trace & has_answer & (count == 4)).to(tl.int32))
    tl.store(fields + HAS_ANSWER, has_answer.to(tl.int32))


@triton.jit
def _first(tags, size, begin, TAG: tl.constexpr, BLOCK: tl.constexpr):
    """Give the first place from `begin` on at which the tag stands; `size` if it does not."""
    found = size
    for start in range(begin, size, BLOCK):
        place = start + tl.arange(0, BLOCK)
        tag = tl.load(tags + place, mask=place < size, other=0)
        found = tl.minimum(found, tl.min(tl.where(tag == TAG, place, size), 0))
    return found


@triton.jit
def fold_characters(text, table, folded, fields, C, BLOCK: tl.constexpr):
    """Write the bytes that normalisation leaves of trace and answer, each with its kind, and spaces around them.

    A row needs the law iff trace or answer hold broken UTF-8 or a character that characters.py leaves to it.

    Shapes: text [B, C], table [characters] -> folded [B, C] (byte + 256 · kind),
    fields needs_law, well_formed, characters, trace_characters
    """
    row = tl.program_id(0).to(tl.int64)
    text += row * C
    folded += row * C
    fields += row * F
    size = tl.load(fields + BYTES)
    trace_begin, trace_end = tl.load(fields + TRACE_BEGIN), tl.load(fields + TRACE_END)
    answer_begin, answer_end = tl.load(fields + ANSWER_BEGIN), tl.load(fields + ANSWER_END)
    think_open = tl.load(fields + THINK_OPEN_AT)
    at, in_trace, needs_law, ink, unclaimed = size * 0, size * 0, size * 0, size * 0, size * 0
    for start in range(0, size, BLOCK):
        place = start + tl.arange(0, BLOCK)
        entry, is_tail, tail = _read_character(text, place, size, table)
        inside = (place >= trace_begin) & (place < trace_end) | (place >= answer_begin) & (place < answer_end)
        # tags belong to their spans here
        framed = (place >= think_open) & (place < trace_end + 8)
        framed |= (place >= answer_begin - 8) & (place < answer_end + 9)
        is_ink = (place < size) & ~framed & ~is_tail & (entry >> _KIND_SHIFT != _SPACE)
        ink |= tl.max(is_ink.to(tl.int32), 0)
        needs_law |= tl.max((inside & ~is_tail & (entry == _LAW_ENTRY)).to(tl.int32), 0)
        # every byte after a character's first is announced by that one
        unclaimed += tl.sum(tl.where(inside, is_tail.to(tl.int32) - tail, 0), 0)
        entry = tl.where(inside, tl.where(is_tail, 0, entry), _SPACE_ENTRY)
        kind = (entry >> _KIND_SHIFT).to(tl.int32)
        count = tl.where(place < size, (entry >> _LENGTH_SHIFT).to(tl.int32) & 15, 0)
        target = at + tl.cumsum(count, 0) - count
        for offset in tl.static_range(4):
            byte = (entry >> (8 * offset)).to(tl.int32) & 0xFF
            tl.store(folded + target + offset, (byte | kind << 8).to(tl.int16), mask=offset < count)
        at += tl.sum(count, 0)
        in_trace += tl.sum(tl.where(place < trace_end, count, 0), 0)
    tl.store(fields + NEEDS_LAW, needs_law | (unclaimed != 0).to(tl.int32))
    tl.store(fields + WELL_FORMED, tl.load(fields + IS_FRAMED) & (ink == 0).to(tl.int32))
    tl.store(fields + CHARACTERS, at)
    tl.store(fields + TRACE_CHARACTERS, in_trace)


@triton.jit
def _read_character(text, place, size, table):
    """Read the UTF-8 character that begins at each place.

    Gives its entry of the table, whether the byte goes on with an earlier character, and how many bytes follow it.
    """
    first = tl.load(text + place, mask=place < size, other=0).to(tl.int32)
    second = tl.load(text + place + 1, mask=place + 1 < size, other=0).to(tl.int32)
    third = tl.load(text + place + 2, mask=place + 2 < size, other=0).to(tl.int32)
    fourth = tl.load(text + place + 3, mask=place + 3 < size, other=0).to(tl.int32)
    is_tail = first & 0xC0 == 0x80
    tail = (first >= 0xC0).to(tl.int32) + (first >= 0xE0).to(tl.int32) + (first >= 0xF0).to(tl.int32)
    code = tl.where(tail == 0, first, (first & (0x3F >> tail)) << 6 | second & 0x3F)
    code = tl.where(tail >= 2, code << 6 | third & 0x3F, code)
    code = tl.where(tail == 3, code << 6 | fourth & 0x3F, code)
    # the shortest form only; surrogates have the law's entry in the table
    shortest = tl.where(tail == 3, 0x10000, tl.where(tail == 2, 0x800, tl.where(tail == 1, 0x80, 0)))
    whole = (tail < 1) | (second & 0xC0 == 0x80)
    whole &= (tail < 2) | (third & 0xC0 == 0x80)
    whole &= (tail < 3) | (fourth & 0xC0 == 0x80)
    valid = whole & (code >= shortest) & (first < 0xF8) & (code < _CODES)
    return tl.load(table + code, mask=valid, other=_LAW_ENTRY), is_tail, tail


@triton.jit
def mark_breaks(folded, breaks, fields, C, BLOCK: tl.constexpr):
    """Mark what parts words: spaces, and the letters of articles.

    An article is a whole run of word characters, even next to other ones: after a quotation mark, say.

    Shapes: folded [B, C] -> breaks [B, C]
    """
    row = tl.program_id(0).to(tl.int64)
    folded += row * C
    breaks += row * C
    size = tl.load(fields + row * F + CHARACTERS)
    for start in range(0, size, BLOCK):
        place = start + tl.arange(0, BLOCK)
        before_3, before_2 = _character(folded, place - 3, size), _character(folded, place - 2, size)
        before, here, after = (
            _character(folded, place - 1, size),
            _character(folded, place, size),
            _character(folded, place + 1, size),
        )
        after_2, after_3 = _character(folded, place + 2, size), _character(folded, place + 3, size)
        opens, opened, opened_2 = before >> 8 != _WORD, before_2 >> 8 != _WORD, before_3 >> 8 != _WORD
        closes, closes_2, closes_3 = after >> 8 != _WORD, after_2 >> 8 != _WORD, after_3 >> 8 != _WORD
        is_break = here >> 8 == _SPACE
        is_break |= opens & (here == _A) & closes
        is_break |= opens & (here == _A) & (after == _N) & closes_2
        is_break |= opened & (before == _A) & (here == _N) & closes
        is_break |= opens & (here == _T) & (after == _H) & (after_2 == _E) & closes_3
        is_break |= opened & (before == _T) & (here == _H) & (after == _E) & closes_2
        is_break |= opened_2 & (before_2 == _T) & (before == _H) & (here == _E) & closes
        tl.store(breaks + place, is_break.to(tl.uint8), mask=place < size)


@triton.jit
def _character(folded, place, size):
    """Read the character at each place; outside the row are spaces."""
    return tl.load(folded + place, mask=(place >= 0) & (place < size), other=_FOLDED_SPACE)


@triton.jit
def find_words(breaks, begins, ends, fields, C, W, BLOCK: tl.constexpr):
    """Find where words begin and end: what stands between breaks.

    Shapes: breaks [B, C] -> begins [B, W], ends [B, W], fields trace_words, answer_words
    """
    row = tl.program_id(0).to(tl.int64)
    breaks += row * C
    begins += row * W
    ends += row * W
    fields += row * F
    size, trace_size = tl.load(fields + CHARACTERS), tl.load(fields + TRACE_CHARACTERS)
    at, in_trace = size * 0, size * 0
    for start in range(0, size, BLOCK):
        place = start + tl.arange(0, BLOCK)
        is_word = tl.load(breaks + place, mask=place < size, other=1) == 0
        after_break = tl.load(breaks + place - 1, mask=(place > 0) & (place <= size), other=1) == 1
        before_break = tl.load(breaks + place + 1, mask=place + 1 < size, other=1) == 1
        begin = (is_word & after_break).to(tl.int32)
        number = at + tl.cumsum(begin, 0) - 1
        tl.store(begins + number, place, mask=is_word & after_break)
        tl.store(ends + number, place + 1, mask=is_word & before_break)
        at += tl.sum(begin, 0)
        in_trace += tl.sum(tl.where(place < trace_size, begin, 0), 0)
    tl.store(fields + TRACE_WORDS, in_trace)
    tl.store(fields + ANSWER_WORDS, at - in_trace)
