"""The reward law: one completion to its terms, terms to one reward.

Scoring needs neither a judge nor a reward model. This plain form is the reference: the kernel must give its numbers.
The terms are logged one by one; `total` only weighs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mbt_lite.rewards.terms import TERMS, Completion, RewardLimits
from mbt_lite.text.completion import parse_completion

# The value of each term of one completion, in the law's order; terms.py says what each is.
Terms = dict[str, float]


def score(
    text: str,
    *,
    stopped: bool,
    completion_tokens: int,
    golds: Sequence[str],
    limits: RewardLimits,
    prefilled_think: bool = False,
) -> Terms:
    """Score one completion by the law.

    `text` is the generated text without special tokens, `stopped` is True iff the model ended its turn by itself,
    `completion_tokens` counts the end-of-turn token too, `golds` are the answer and its aliases (at least one).

    >>> limits = RewardLimits(max_completion_tokens=512, verification_words=40, overlong_buffer_tokens=64)
    >>> text = "<think>so</think><answer>Rome</answer>"
    >>> score(text, stopped=True, completion_tokens=9, golds=["Rome"], limits=limits)
    {'answer': 1.0, 'exact': 1.0, 'format': 1.0, 'keep': 0.0, 'dwell': 0.0, 'redundancy': 0.0, 'length': 0.0}
    """
    assert not isinstance(golds, str), f"golds must be a sequence of texts (got {golds!r})"
    assert golds, "a completion needs at least one gold to be scored"
    parsed = parse_completion(text, prefilled_think=prefilled_think)
    completion = Completion(parsed, stopped, completion_tokens, golds, limits)
    scored = {name: term.value(completion) for name, term in TERMS.items()}
    outside = {name: value for name, value in scored.items() if not TERMS[name].low <= value <= TERMS[name].high}
    assert not outside, f"terms outside their range: {outside}"
    return scored


def total(scored: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Give the reward: the sum of weight · term, in the law's order; a term without a weight weighs nothing.

    >>> total({"answer": 0.5, "exact": 0.0, "keep": -1.0}, {"answer": 1.0, "keep": 0.25})
    0.25
    """
    assert weights.keys() <= TERMS.keys(), f"unknown reward terms {sorted(weights.keys() - TERMS.keys())}"
    return sum((weights[name] * scored[name] for name in TERMS if name in weights), 0.0)
