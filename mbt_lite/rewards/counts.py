"""From the kernel's counts to the terms it knows; others are the law's alone (see scorer.py).

This is arithmetic on [B] that runs where the counts are. All tensors hold float64: counts stay exact.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from mbt_lite.rewards.terms import NGRAM_WORDS, RewardLimits

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """What is counted in each row; every field is a tensor [B], flags are 0 or 1."""

    tokens: Tensor
    """Tokens of the completion, the end of its turn among them."""
    stopped: Tensor
    """Flag: it ended its turn by itself."""
    well_formed: Tensor
    """Flag: one think pair, then one answer pair, only white space around them."""
    exact: Tensor
    """Flag: there is an answer, and its words are those of a gold."""
    shared_words: Tensor
    """Words that the answer shares with the gold of the best F1; 0 without an answer."""
    both_words: Tensor
    """Words of the answer and of that gold together; two texts without words count as sharing one of two."""
    trace_words: Tensor
    """Words of the trace."""
    mention_words: Tensor
    """Words of the trace through the first mention of a gold; 0 without a mention."""
    repeated_ngrams: Tensor
    """Word 4-grams of the trace that occurred earlier in it."""


COUNT_NAMES = tuple(field.name for field in dataclasses.fields(Counts))


def to_terms(counts: Counts, limits: RewardLimits) -> dict[str, Tensor]:
    """Give terms of rewards/terms.py, each a tensor [B], in the law's order."""
    mentioned = counts.mention_words > 0
    beyond = (counts.trace_words - counts.mention_words - limits.verification_words).clip(0)
    ngrams = (counts.trace_words - (NGRAM_WORDS - 1)).clip(1)
    buffer = limits.overlong_buffer_tokens
    overlong = ((counts.tokens - (limits.max_completion_tokens - buffer)) / max(buffer, 1)).clip(0, 1)
    return {
        "answer": 2 * counts.shared_words / counts.both_words.clip(1),
        "exact": counts.exact,
        "format": counts.well_formed * counts.stopped,
        "keep": 0.0 - (1 - counts.exact) * mentioned,
        "dwell": 0.0 - counts.exact * mentioned * (beyond / counts.trace_words.clip(1)),
        "redundancy": 0.0 - counts.repeated_ngrams / ngrams,
        "length": 0.0 - (counts.stopped * overlong + (1 - counts.stopped)),
    }
