"""The kernel's last stages, in Triton: words become hashes, and hashes are compared and counted.

One program reads one row. Sequences of words are compared as hashes of hashes, or word by word where they are short;
repeated 4-grams are found by comparing each with all before it, in squares: half a million comparisons for 1,000 words.
Shapes: as in kernel_text.py, and Q, A, J of word_tables.py.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mbt_lite.rewards import word_hashes
from mbt_lite.rewards.kernel_fields import (
    ANSWER_WORDS,
    BOTH_WORDS,
    EXACT,
    HAS_ANSWER,
    MENTION_WORDS,
    REPEATED_NGRAMS,
    SHARED_WORDS,
    TRACE_WORDS,
    F,
    eight_bytes,
)
from mbt_lite.rewards.terms import NGRAM_WORDS
from mbt_lite.rewards.word_tables import NO_GOLD

_SHIFT_1, _SHIFT_2, _SHIFT_3 = map(tl.constexpr, word_hashes.MIX_SHIFTS)
_FACTOR_1, _FACTOR_2 = map(tl.constexpr, word_hashes.MIX_FACTORS)
_SEQUENCE_BASE = tl.constexpr(word_hashes.SEQUENCE_BASE)
_LANE_BYTES = tl.constexpr(word_hashes.LANE_BYTES)
_NGRAM_WORDS, _NO_GOLD = tl.constexpr(NGRAM_WORDS), tl.constexpr(NO_GOLD)
_NOWHERE = tl.constexpr(2**31 - 1)


@triton.jit
def hash_words(folded, begins, ends, hashes, fields, C, W, BLOCK: tl.constexpr):
    """Hash words as word_hashes.py does, eight bytes at a time.

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
            lane = eight_bytes(folded, begin + offset, end[:, None])
            value = tl.where(begin + offset < end, _mix(value ^ lane), value)
        tl.store(hashes + place, value.to(tl.int64, bitcast=True), mask=place < words)


@triton.jit
def _mix(value):
    value = (value ^ (value >> _SHIFT_1)) * _FACTOR_1
    value = (value ^ (value >> _SHIFT_2)) * _FACTOR_2
    return value ^ (value >> _SHIFT_3)


@triton.jit
def count_words(
    hashes, gold_rows, gold_words, gold_ranks, gold_lengths, mentionable,
    fields, W, A, J, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Compare a row's words with its golds and with each other.

    Shapes: hashes [B, W], gold_rows [B], gold_words and gold_ranks [Q, A, J], gold_lengths and mentionable [Q, A]
    -> fields exact, shared_words, both_words, mention_words, repeated_ngrams
    """
    row = tl.program_id(0).to(tl.int64)
    hashes += row * W
    fields += row * F
    question = tl.load(gold_rows + row).to(tl.int64)
    gold_words += question * A * J
    gold_ranks += question * A * J
    gold_lengths += question * A
    mentionable += question * A
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
        if tl.load(mentionable + gold) == 1:
            mention = tl.minimum(mention, _through_first(hashes, words, gold_words + gold * J, length, BLOCK))
    tl.store(fields + EXACT, exact)
    tl.store(fields + SHARED_WORDS, shared)
    tl.store(fields + BOTH_WORDS, both)
    tl.store(fields + MENTION_WORDS, tl.where(mention == _NOWHERE, 0, mention))
    tl.store(fields + REPEATED_NGRAMS, _repeated_ngrams(hashes, words, TILE))


@triton.jit
def _overlap(answer, answer_words, gold, ranks, length, BLOCK: tl.constexpr):
    """Give whether answer and gold are the same words in order, and how many they share whatever the order."""
    same, shared = (answer_words == length).to(tl.int32), length * 0
    for number in range(0, length):
        word = tl.load(gold + number)
        found = length * 0
        for start in range(0, answer_words, BLOCK):
            place = start + tl.arange(0, BLOCK)
            there = (tl.load(answer + place, mask=place < answer_words, other=0) == word) & (place < answer_words)
            found += tl.sum(there.to(tl.int32), 0)
            same &= 1 - tl.max(((place == number) & ~there).to(tl.int32), 0)
        shared += (found > tl.load(ranks + number)).to(tl.int32)
    return same, shared


@triton.jit
def _through_first(hashes, words, gold, length, BLOCK: tl.constexpr):
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
def _repeated_ngrams(hashes, words, TILE: tl.constexpr):
    """Count the word 4-grams that occurred earlier."""
    ngrams = words - (_NGRAM_WORDS - 1)
    repeated = words * 0
    for start in range(0, ngrams, TILE):
        place = start + tl.arange(0, TILE)
        sequence = _ngrams(hashes, place, words)
        is_repeated = place * 0
        for earlier_start in range(0, start + 1, TILE):
            earlier = earlier_start + tl.arange(0, TILE)
            same = sequence[:, None] == _ngrams(hashes, earlier, words)[None, :]
            same &= earlier[None, :] < place[:, None]
            is_repeated |= tl.max(same.to(tl.int32), 1)
        repeated += tl.sum(tl.where(place < ngrams, is_repeated, 0), 0)
    return repeated


@triton.jit
def _ngrams(hashes, place, words):
    """Hash the 4-gram that begins at each place; those that do not fit are meaningless."""
    value = place.to(tl.uint64) * 0
    for offset in tl.static_range(_NGRAM_WORDS):
        value = _extend(value, hashes, place + offset, words)
    return value


@triton.jit
def _extend(value, hashes, place, words):
    """Hash sequences that are one word longer."""
    word = tl.load(hashes + place, mask=place < words, other=0)
    return value * _SEQUENCE_BASE + word.to(tl.uint64, bitcast=True)
