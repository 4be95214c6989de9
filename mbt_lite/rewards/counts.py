"""From counts to terms, rewards and advantages: the arithmetic that the vectorised form and the kernel share.

Both count the same things of each row; this is what the counts mean. It uses nothing but operators and methods that
NumPy arrays and torch tensors both have, so it runs where the counts are. All arrays hold float64: counts stay exact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mbt_lite.rewards.advantages import EQUAL_BELOW, STD_EPSILON
from mbt_lite.rewards.law import TERM_NAMES, RewardLimits
from mbt_lite.rewards.terms import NGRAM_WORDS


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """What is counted in each row; every field is an array [B], flags are 0 or 1."""

    tokens: Any
    """Tokens of the completion, the end of its turn among them."""
    stopped: Any
    """Flag: it ended its turn by itself."""
    well_formed: Any
    """Flag: one think pair, then one answer pair, only white space around them."""
    exact: Any
    """Flag: there is an answer, and its words are those of a gold."""
    shared_words: Any
    """Words that the answer shares with the gold of the best F1; 0 without an answer."""
    both_words: Any
    """Words of the answer and of that gold together; two texts without words count as sharing one of two."""
    trace_words: Any
    """Words of the trace."""
    mention_words: Any
    """Words of the trace through the first mention of a gold; 0 without a mention."""
    repeated_ngrams: Any
    """Word 4-grams of the trace that occurred earlier in it."""


COUNT_NAMES = tuple(field.name for field in dataclasses.fields(Counts))


def to_terms(counts: Counts, limits: RewardLimits) -> dict[str, Any]:
    """Give the seven terms of rewards/terms.py, each an array [B], in the law's order."""
    mentioned = counts.mention_words > 0
    beyond = (counts.trace_words - counts.mention_words - limits.verification_words).clip(0)
    ngrams = (counts.trace_words - (NGRAM_WORDS - 1)).clip(1)
    buffer = limits.overlong_buffer_tokens
    overlong = ((counts.tokens - (limits.max_completion_tokens - buffer)) / max(buffer, 1)).clip(0, 1)
    terms = {
        "answer": 2 * counts.shared_words / counts.both_words.clip(1),
        "exact": counts.exact,
        "format": counts.well_formed * counts.stopped,
        "keep": 0.0 - (1 - counts.exact) * mentioned,
        "dwell": 0.0 - counts.exact * mentioned * (beyond / counts.trace_words.clip(1)),
        "redundancy": 0.0 - counts.repeated_ngrams / ngrams,
        "length": 0.0 - (counts.stopped * overlong + (1 - counts.stopped)),
    }
    assert tuple(terms) == TERM_NAMES, terms.keys()
    return terms


def to_rewards(terms: Mapping[str, Any], weights: Mapping[str, float]) -> Any:
    """Give the weighed sums [B], added up in the law's order; a term without a weight weighs nothing."""
    return sum((weights[name] * term for name, term in terms.items() if name in weights), 0.0 * terms["answer"])


def to_advantages(rewards: Any, group_size: int, scale: bool = True) -> tuple[Any, Any]:
    """Give (reward - mean) / (std + 1e-4) within each group, and the flag of groups without a spread (advantages.py).

    Shapes: rewards [B = P·G] -> advantages [B], zero_variance [P]
    """
    groups = rewards.reshape(-1, group_size)
    spread = (groups[:, :, None] - groups[:, None, :]) >= EQUAL_BELOW
    varied = spread.sum((1, 2)) > 0
    centred = groups - groups.mean(1)[:, None]
    deviation = ((centred**2).sum(1) / (group_size - 1)) ** 0.5
    scaled = centred / (deviation + STD_EPSILON)[:, None] if scale else centred
    return (scaled * varied[:, None]).reshape(-1), ~varied
