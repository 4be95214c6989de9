"""What the kernel's stages share: the numbers kept of each row, and reading bytes eight at a time."""

from __future__ import annotations

import triton
import triton.language as tl

# A row's numbers stand in `fields` [B, F], each at its place in this list.
FIELDS = (
    "stopped", "bytes", "think_open", "trace_begin", "trace_end", "answer_begin", "answer_end", "is_framed",
    "has_answer", "needs_law", "well_formed", "characters", "trace_characters", "trace_words", "answer_words",
    "exact", "shared_words", "both_words", "mention_words", "repeated_ngrams",
)  # fmt: skip
(
    STOPPED, BYTES, THINK_OPEN_AT, TRACE_BEGIN, TRACE_END, ANSWER_BEGIN, ANSWER_END, IS_FRAMED,
    HAS_ANSWER, NEEDS_LAW, WELL_FORMED, CHARACTERS, TRACE_CHARACTERS, TRACE_WORDS, ANSWER_WORDS,
    EXACT, SHARED_WORDS, BOTH_WORDS, MENTION_WORDS, REPEATED_NGRAMS,
) = map(tl.constexpr, range(len(FIELDS)))  # fmt: skip
F = tl.constexpr(len(FIELDS))


@triton.jit
def eight_bytes(array, place, end):
    """Read eight bytes from each place on as a little-endian number; those at or after `end` are zeros.

    Shapes: place [N], end a number or [N] -> [N]
    """
    offset = tl.arange(0, 8)[None, :]
    byte = tl.load(array + place[:, None] + offset, mask=place[:, None] + offset < end, other=0)
    return tl.sum((byte & 0xFF).to(tl.uint64) << (8 * offset).to(tl.uint64), 1)
