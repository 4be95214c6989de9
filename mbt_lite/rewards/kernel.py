"""The reward law's counts on the device, in Triton: six launches from token ids to counts, whatever the batch holds.

One program reads one row, block by block; launches follow each other in the stream, so each sees what the ones before
wrote. The stages, which are the vectorised form's too:

1. `write_bytes`: token ids -> bytes, by the table of the vocabulary
2. `find_spans`: bytes -> where trace and answer begin and end
3. `fold_characters`: bytes of trace and answer -> normalised characters; anything else -> spaces
4. `find_words`: characters -> where words begin and end, articles left out
5. `hash_words`: words -> 64-bit hashes (word_hashes.py says which)
6. `count_words`: hashes, golds, cues -> the counts of counts.py

Shapes: B rows, T tokens, C bytes of the longest row, W = C/2 + 1 words, V tokens of the vocabulary, F fields; Q, A, J as
in word_tables.py. All arrays are contiguous. A row's numbers stand in `fields` [B, F]; kernel_scorer.py launches.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from mbt_lite.rewards import characters, word_hashes
from mbt_lite.rewards.cues import PHASES
from mbt_lite.rewards.terms import NGRAM_WORDS
from mbt_lite.rewards.word_tables import NO_GOLD
from mbt_lite.text.completion import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN

FIELDS = (
    "stopped", "bytes", "think_open", "trace_begin", "trace_end", "answer_begin", "answer_end", "is_framed",
    "has_answer", "needs_law", "well_formed", "characters", "trace_characters", "trace_words", "answer_words",
    "exact", "shared_words", "both_words", "mention_words", "repeated_ngrams", "phases",
)  # fmt: skip
(
    STOPPED, BYTES, THINK_OPEN_AT, TRACE_BEGIN, TRACE_END, ANSWER_BEGIN, ANSWER_END, IS_FRAMED,
    HAS_ANSWER, NEEDS_LAW, WELL_FORMED, CHARACTERS, TRACE_CHARACTERS, TRACE_WORDS, ANSWER_WORDS,
    EXACT, SHARED_WORDS, BOTH_WORDS, MENTION_WORDS, REPEATED_NGRAMS, SHOWN_PHASES,
) = map(tl.constexpr, range(len(FIELDS)))  # fmt: skip

# Tags as the number that their first eight bytes make; `</answer>` has a ninth.
_THINK_OPEN = tl.constexpr(int.from_bytes(THINK_OPEN.encode(), "little"))
_THINK_CLOSE = tl.constexpr(int.from_bytes(THINK_CLOSE.encode(), "little"))
_ANSWER_OPEN = tl.constexpr(int.from_bytes(ANSWER_OPEN.encode(), "little"))
_ANSWER_CLOSE = tl.constexpr(int.from_bytes(ANSWER_CLOSE[:8].encode(), "little"))
_SEVEN_BYTES = tl.constexpr((1 << 56) - 1)
_TAGS = tl.constexpr(4)

_CODES = tl.constexpr(characters.CHARACTERS)
_SPACE, _WORD = tl.constexpr(characters.SPACE), tl.constexpr(characters.WORD)
_LAW_ENTRY = tl.constexpr(characters.LAW << characters.KIND_SHIFT)
_SPACE_ENTRY = tl.constexpr(ord(" ") | 1 << characters.LENGTH_SHIFT | characters.SPACE << characters.KIND_SHIFT)
_LENGTH_SHIFT, _KIND_SHIFT = tl.constexpr(characters.LENGTH_SHIFT), tl.constexpr(characters.KIND_SHIFT)
_FOLDED_SPACE = tl.constexpr(ord(" ") | characters.SPACE << 8)
_A, _E, _H, _N, _T = (tl.constexpr(ord(letter)) for letter in "aehnt")

_SHIFT_1, _SHIFT_2, _SHIFT_3 = map(tl.constexpr, word_hashes.MIX_SHIFTS)
_FACTOR_1, _FACTOR_2 = map(tl.constexpr, word_hashes.MIX_FACTORS)
_SEQUENCE_BASE = tl.constexpr(word_hashes.SEQUENCE_BASE)
_LANE_BYTES = tl.constexpr(word_hashes.LANE_BYTES)
_NGRAM_WORDS, _PHASES, _NO_GOLD = tl.constexpr(NGRAM_WORDS), tl.constexpr(len(PHASES)), tl.constexpr(NO_GOLD)
_NOWHERE = tl.constexpr(2**31 - 1)


@triton.jit
def write_bytes(
    ids: Any, lengths: Any, stop_ids: Any, token_bytes: Any, token_starts: Any, text: Any, fields: Any,
    T: Any, C: Any, V: Any, STOPS: tl.constexpr, PREFILLED: tl.constexpr, F: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Write the bytes of each row's tokens; a stop token at the end has none, a prefilled `<think>` is written out.

    Shapes: ids [B, T], lengths [B], stop_ids [STOPS], token_bytes [bytes of all tokens], token_starts [V + 1]
    -> text [B, C], fields stopped, bytes
    """
    row = tl.program_id(0).to(tl.int64)
    ids += row * T
    text += row * C
    length = tl.load(lengths + row)
    last = tl.load(ids + length - 1, mask=length > 0, other=-1)
    stopped = 0
    for stop in tl.static_range(STOPS):
        stopped |= (last == tl.load(stop_ids + stop)).to(tl.int32)
    at = 0
    if PREFILLED:
        place = tl.arange(0, 8)
        tag = tl.full([8], _THINK_OPEN, tl.uint64) >> (place * 8).to(tl.uint64)
        tl.store(text + place, (tag & 0xFF).to(tl.uint8), mask=place < 7)
        at = 7
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
def find_spans(text: Any, fields: Any, C: Any, F: tl.constexpr, BLOCK: tl.constexpr) -> None:
    """Find trace and answer by the rules of text/completion.py; what is missing is an empty span at 0.

    `is_framed` is 1 iff each tag stands there once, in order.

    Shapes: text [B, C] -> fields think_open, trace_begin, trace_end, answer_begin, answer_end, is_framed, has_answer
    """
    row = tl.program_id(0).to(tl.int64)
    text += row * C
    fields += row * F
    size = tl.load(fields + BYTES)
    think_open = _first_tag(text, size, 0, _THINK_OPEN, BLOCK)
    has_trace = think_open < size
    trace_begin = tl.where(has_trace, think_open + 7, 0)
    think_close = _first_tag(text, size, trace_begin, _THINK_CLOSE, BLOCK)
    rest = tl.where(has_trace, tl.minimum(think_close + 8, size), 0)
    answer_open = _last_tag(text, size, rest, _ANSWER_OPEN, BLOCK)
    answer_close = _first_tag(text, size, tl.maximum(answer_open, rest), _ANSWER_CLOSE, BLOCK)
    has_answer = (answer_open >= 0) & (answer_close < size)
    is_framed = has_trace & has_answer & (_count_tags(text, size, BLOCK) == _TAGS)
    tl.store(fields + THINK_OPEN_AT, tl.where(has_trace, think_open, 0))
    tl.store(fields + TRACE_BEGIN, trace_begin)
    tl.store(fields + TRACE_END, tl.where(has_trace, think_close, 0))
    tl.store(fields + ANSWER_BEGIN, tl.where(has_answer, answer_open + 8, 0))
    tl.store(fields + ANSWER_END, tl.where(has_answer, answer_close, 0))
    tl.store(fields + IS_FRAMED, is_framed.to(tl.int32))
    tl.store(fields + HAS_ANSWER, has_answer.to(tl.int32))


@triton.jit
def _first_tag(text: Any, size: Any, begin: Any, TAG: tl.constexpr, BLOCK: tl.constexpr) -> Any:
    """Give the first place from `begin` on at which the tag stands; `size` if it does not."""
    found = size
    for start in range(begin, size, BLOCK):
        place = start + tl.arange(0, BLOCK)
        found = tl.minimum(found, tl.min(tl.where(_is_tag(text, place, size, TAG), place, size), 0))
    return found


@triton.jit
def _last_tag(text: Any, size: Any, begin: Any, TAG: tl.constexpr, BLOCK: tl.constexpr) -> Any:
    """Give the last place from `begin` on at which the tag stands; -1 if it does not."""
    found = size * 0 - 1
    for start in range(begin, size, BLOCK):
        place = start + tl.arange(0, BLOCK)
        found = tl.maximum(found, tl.max(tl.where(_is_tag(text, place, size, TAG), place, -1), 0))
    return found


@triton.jit
def _count_tags(text: Any, size: Any, BLOCK: tl.constexpr) -> Any:
    """Count the tags of all four kinds."""
    count = size * 0
    for start in range(0, size, BLOCK):
        place = start + tl.arange(0, BLOCK)
        is_think = _is_tag(text, place, size, _THINK_OPEN) | _is_tag(text, place, size, _THINK_CLOSE)
        is_answer = _is_tag(text, place, size, _ANSWER_OPEN) | _is_tag(text, place, size, _ANSWER_CLOSE)
        count += tl.sum((is_think | is_answer).to(tl.int32), 0)
    return count


@triton.jit
def _is_tag(text: Any, place: Any, size: Any, TAG: tl.constexpr) -> Any:
    """Tell of each place whether the tag stands there."""
    number = _eight_bytes(text, place, size)
    if TAG == _THINK_OPEN:
        return (number & _SEVEN_BYTES) == TAG
    if TAG == _ANSWER_CLOSE:
        return (number == TAG) & (tl.load(text + place + 8, mask=place + 8 < size, other=0) == 62)
    return number == TAG


@triton.jit
def _eight_bytes(text: Any, place: Any, end: Any) -> Any:
    """Read eight bytes from each place on as a little-endian number; those at or after `end` are zeros."""
    number = place.to(tl.uint64) * 0
    for offset in tl.static_range(8):
        byte = tl.load(text + place + offset, mask=place + offset < end, other=0) & 0xFF
        number |= byte.to(tl.uint64) << (8 * offset)
    return number


@triton.jit
def fold_characters(
    text: Any, table: Any, folded: Any, fields: Any, C: Any, F: tl.constexpr, BLOCK: tl.constexpr
) -> None:
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
        kind = (entry >> _KIND_SHIFT).to(tl.int32)
        inside = (place >= trace_begin) & (place < trace_end) | (place >= answer_begin) & (place < answer_end)
        framed = (place >= think_open) & (place < trace_end + 8)
        framed |= (place >= answer_begin - 8) & (place < answer_end + 9)
        ink |= tl.max(((place < size) & ~framed & ~is_tail & (kind != _SPACE)).to(tl.int32), 0)
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
def _read_character(text: Any, place: Any, size: Any, table: Any) -> Any:
    """Read the UTF-8 character that begins at each place.

    Gives its entry of the table, whether the byte goes on with an earlier character, and how many bytes follow it.
    """
    first = tl.load(text + place, mask=place < size, other=0).to(tl.int32)
    second = tl.load(text + place + 1, mask=place + 1 < size, other=0).to(tl.int32)
    third = tl.load(text + place + 2, mask=place + 2 < size, other=0).to(tl.int32)
    fourth = tl.load(text + place + 3, mask=place + 3 < size, other=0).to(tl.int32)
    two, three, four = second & 0xC0 == 0x80, third & 0xC0 == 0x80, fourth & 0xC0 == 0x80
    tail = tl.where(first >= 0xF0, 3, tl.where(first >= 0xE0, 2, tl.where(first >= 0xC0, 1, 0)))
    code = tl.where(tail == 0, first, (first & (0x3F >> tail)) << 6 | second & 0x3F)
    code = tl.where(tail >= 2, code << 6 | third & 0x3F, code)
    code = tl.where(tail == 3, code << 6 | fourth & 0x3F, code)
    # the shortest form only; surrogates have the law's entry in the table
    shortest = tl.where(tail == 3, 0x10000, tl.where(tail == 2, 0x800, tl.where(tail == 1, 0x80, 0)))
    whole = ((tail < 1) | two) & ((tail < 2) | three) & ((tail < 3) | four)
    valid = whole & (code >= shortest) & (first < 0xF8) & (code < _CODES)
    entry = tl.load(table + code, mask=valid, other=_LAW_ENTRY)
    is_tail = first & 0xC0 == 0x80
    return entry, is_tail, tl.where(is_tail, 0, tail)


@triton.jit
def find_words(
    folded: Any, begins: Any, ends: Any, fields: Any, C: Any, W: Any, F: tl.constexpr, BLOCK: tl.constexpr
) -> None:
    """Find where words begin and end: what stands between spaces and articles.

    Shapes: folded [B, C] -> begins [B, W], ends [B, W], fields trace_words, answer_words
    """
    row = tl.program_id(0).to(tl.int64)
    folded += row * C
    begins += row * W
    ends += row * W
    fields += row * F
    size, trace_size = tl.load(fields + CHARACTERS), tl.load(fields + TRACE_CHARACTERS)
    at, in_trace = size * 0, size * 0
    for start in range(0, size, BLOCK):
        place = start + tl.arange(0, BLOCK)
        here = ~_is_break(folded, place, size)
        begin = (here & _is_break(folded, place - 1, size)).to(tl.int32)
        number = at + tl.cumsum(begin, 0)
        tl.store(begins + number - 1, place, mask=begin == 1)
        tl.store(ends + number - 1, place + 1, mask=here & _is_break(folded, place + 1, size))
        at += tl.sum(begin, 0)
        in_trace += tl.sum(tl.where(place < trace_size, begin, 0), 0)
    tl.store(fields + TRACE_WORDS, in_trace)
    tl.store(fields + ANSWER_WORDS, at - in_trace)


@triton.jit
def _is_break(folded: Any, place: Any, size: Any) -> Any:
    """Tell of each place whether it parts words: a space, a letter of an article, or outside the row.

    An article is a whole run of word characters, even next to other ones: in a quotation mark before "The", say.
    """
    before_3, before_2, before = (
        _folded_at(folded, place - 3, size),
        _folded_at(folded, place - 2, size),
        _folded_at(folded, place - 1, size),
    )
    here, after = _folded_at(folded, place, size), _folded_at(folded, place + 1, size)
    after_2, after_3 = _folded_at(folded, place + 2, size), _folded_at(folded, place + 3, size)
    opens, opened, opened_2 = _is_no_word(before), _is_no_word(before_2), _is_no_word(before_3)
    closes, closes_2, closes_3 = _is_no_word(after), _is_no_word(after_2), _is_no_word(after_3)
    a, n = _is_letter(here, _A), _is_letter(here, _N)
    article = opens & a & closes
    article |= opens & a & _is_letter(after, _N) & closes_2
    article |= opened & _is_letter(before, _A) & n & closes
    article |= opens & _is_letter(here, _T) & _is_letter(after, _H) & _is_letter(after_2, _E) & closes_3
    article |= opened & _is_letter(before, _T) & _is_letter(here, _H) & _is_letter(after, _E) & closes_2
    article |= opened_2 & _is_letter(before_2, _T) & _is_letter(before, _H) & _is_letter(here, _E) & closes
    return article | (here >> 8 == _SPACE)


@triton.jit
def _folded_at(folded: Any, place: Any, size: Any) -> Any:
    """Read the character at each place; outside the row are spaces."""
    return tl.load(folded + place, mask=(place >= 0) & (place < size), other=_FOLDED_SPACE)


@triton.jit
def _is_no_word(character: Any) -> Any:
    return character >> 8 != _WORD


@triton.jit
def _is_letter(character: Any, LETTER: tl.constexpr) -> Any:
    return character == _WORD * 256 + LETTER


@triton.jit
def hash_words(
    folded: Any, begins: Any, ends: Any, hashes: Any, fields: Any, C: Any, W: Any, F: tl.constexpr, BLOCK: tl.constexpr
) -> None:
    """Hash words, eight bytes at a time.

    Shapes: folded [B, C], begins [B, W], ends [B, W] -> hashes [B, W]
    """
    row = tl.program_id(0).to(tl.int64)
    folded += row * C
    begins += row * W
    ends += row * W
    hashes += row * W
    words = tl.load(fields + row * F + TRACE_WORDS) + tl.load(fields + row * F + ANSWER_WORDS)
    for start in range(0, words, BLOCK):
        place = start + tl.arange(0, BLOCK)
        begin = tl.load(begins + place, mask=place < words, other=0)
        end = tl.load(ends + place, mask=place < words, other=0)
        value = place.to(tl.uint64) * 0
        for offset in range(0, tl.max(end - begin, 0), _LANE_BYTES):
            lane = _eight_bytes(folded, begin + offset, end)
            value = tl.where(begin + offset < end, _mix(value ^ lane), value)
        tl.store(hashes + place, value.to(tl.int64, bitcast=True), mask=place < words)


@triton.jit
def _mix(value: Any) -> Any:
    value = (value ^ (value >> _SHIFT_1)) * _FACTOR_1
    value = (value ^ (value >> _SHIFT_2)) * _FACTOR_2
    return value ^ (value >> _SHIFT_3)


@triton.jit
def count_words(
    hashes: Any, gold_rows: Any, gold_words: Any, gold_ranks: Any, gold_lengths: Any, mentionable: Any,
    cue_hashes: Any, cue_phases: Any, fields: Any, W: Any, A: Any, J: Any,
    LONGEST_CUE: tl.constexpr, CUES: tl.constexpr, F: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
) -> None:  # fmt: skip
    """Compare a row's words with its golds, with the cues and with each other.

    Shapes: hashes [B, W], gold_rows [B], gold_words and gold_ranks [Q, A, J], gold_lengths and mentionable [Q, A],
    cue_hashes and cue_phases [LONGEST_CUE, CUES]
    -> fields exact, shared_words, both_words, mention_words, repeated_ngrams, phases
    """
    row = tl.program_id(0).to(tl.int64)
    hashes += row * W
    fields += row * F
    question = tl.load(gold_rows + row).to(tl.int64)
    gold_words += question * A * J
    gold_ranks += question * A * J
    gold_lengths += question * A
    words, answer_words = tl.load(fields + TRACE_WORDS), tl.load(fields + ANSWER_WORDS)
    has_answer = tl.load(fields + HAS_ANSWER)
    exact, shared, both, mention = words * 0, words * 0, words * 0 + 1, words * 0 + _NOWHERE
    for gold in range(0, A):
        length = tl.load(gold_lengths + gold)
        if (length != _NO_GOLD) & (has_answer == 1):
            same, common = _overlap(
                hashes + words, answer_words, gold_words + gold * J, gold_ranks + gold * J, length, BLOCK
            )
            exact |= same
            total = answer_words + length
            # two texts without words share one of two
            common = tl.where(total == 0, 1, common)
            total = tl.where(total == 0, 2, total)
            better = common.to(tl.int64) * both > shared.to(tl.int64) * total
            shared, both = tl.where(better, common, shared), tl.where(better, total, both)
        if tl.load(mentionable + question * A + gold) == 1:
            mention = tl.minimum(mention, _through_first(hashes, words, gold_words + gold * J, length, BLOCK))
    tl.store(fields + EXACT, exact)
    tl.store(fields + SHARED_WORDS, shared)
    tl.store(fields + BOTH_WORDS, both)
    tl.store(fields + MENTION_WORDS, tl.where(mention == _NOWHERE, 0, mention))
    tl.store(fields + REPEATED_NGRAMS, _repeated_ngrams(hashes, words, TILE))
    tl.store(fields + SHOWN_PHASES, _shown_phases(hashes, words, cue_hashes, cue_phases, LONGEST_CUE, CUES, TILE))


@triton.jit
def _overlap(answer: Any, answer_words: Any, gold: Any, ranks: Any, length: Any, BLOCK: tl.constexpr) -> Any:
    """Give whether answer and gold are the same words in order, and how many they share whatever the order."""
    same, shared = (answer_words == length).to(tl.int32), length * 0
    for number in range(0, length):
        word = tl.load(gold + number)
        found = length * 0
        for start in range(0, answer_words, BLOCK):
            place = start + tl.arange(0, BLOCK)
            there = tl.load(answer + place, mask=place < answer_words, other=0) == word
            found += tl.sum((there & (place < answer_words)).to(tl.int32), 0)
            same &= 1 - tl.max(((place == number) & ~there).to(tl.int32), 0)
        shared += (found > tl.load(ranks + number)).to(tl.int32)
    return same, shared


@triton.jit
def _through_first(hashes: Any, words: Any, gold: Any, length: Any, BLOCK: tl.constexpr) -> Any:
    """Count the words through the first place at which the gold's words stand; a huge number if nowhere."""
    found = words * 0 + _NOWHERE
    for start in range(0, words, BLOCK):
        place = start + tl.arange(0, BLOCK)
        stands = place + length <= words
        for number in range(0, length):
            there = tl.load(hashes + place + number, mask=stands, other=0)
            stands &= there == tl.load(gold + number)
        found = tl.minimum(found, tl.min(tl.where(stands, place + length, _NOWHERE), 0))
    return found


@triton.jit
def _repeated_ngrams(hashes: Any, words: Any, TILE: tl.constexpr) -> Any:
    """Count the word 4-grams that occurred earlier, by comparing each with all before it."""
    ngrams = words - (_NGRAM_WORDS - 1)
    repeated = words * 0
    for start in range(0, ngrams, TILE):
        place = start + tl.arange(0, TILE)
        sequences = _sequences(hashes, place, words, _NGRAM_WORDS)
        is_repeated = place * 0
        for earlier_start in range(0, start + 1, TILE):
            earlier = earlier_start + tl.arange(0, TILE)
            same = sequences[:, None] == _sequences(hashes, earlier, words, _NGRAM_WORDS)[None, :]
            same &= earlier[None, :] < place[:, None]
            is_repeated |= tl.max(same.to(tl.int32), 1)
        repeated += tl.sum(tl.where(place < ngrams, is_repeated, 0), 0)
    return repeated


@triton.jit
def _shown_phases(
    hashes: Any, words: Any, cue_hashes: Any, cue_phases: Any,
    LONGEST_CUE: tl.constexpr, CUES: tl.constexpr, TILE: tl.constexpr,
) -> Any:  # fmt: skip
    """Count the phases of which a cue stands among the words."""
    shown = words * 0
    cue = tl.arange(0, CUES)
    for length in tl.static_range(1, LONGEST_CUE + 1):
        wanted = tl.load(cue_hashes + (length - 1) * CUES + cue).to(tl.uint64, bitcast=True)
        stands = cue * 0
        for start in range(0, words - length + 1, TILE):
            place = start + tl.arange(0, TILE)
            same = _sequences(hashes, place, words, length)[:, None] == wanted[None, :]
            same &= (place + length <= words)[:, None]
            stands |= tl.max(same.to(tl.int32), 0)
        phase = tl.load(cue_phases + (length - 1) * CUES + cue)
        for number in tl.static_range(_PHASES):
            shown |= tl.max(tl.where(phase == number, stands, 0), 0) << number
    count = words * 0
    for number in tl.static_range(_PHASES):
        count += (shown >> number) & 1
    return count


@triton.jit
def _sequences(hashes: Any, place: Any, words: Any, LENGTH: tl.constexpr) -> Any:
    """Hash the sequence of words that begins at each place; those that do not fit are meaningless."""
    value = place.to(tl.uint64) * 0
    for offset in tl.static_range(LENGTH):
        word = tl.load(hashes + place + offset, mask=place + offset < words, other=0)
        value = value * _SEQUENCE_BASE + word.to(tl.uint64, bitcast=True)
    return value
