"""The reward law: one completion to seven terms, seven terms to one reward.

Scoring needs neither a judge nor a reward model. This plain form is the reference: a faster one must give its numbers.
The terms are logged one by one; `total` only weighs them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from mbt_lite.recipe.schema import RewardWeights
from mbt_lite.rewards import terms
from mbt_lite.text.completion import parse_completion


@dataclasses.dataclass(frozen=True, slots=True)
class RewardLimits:
    """The limits the law refers to: tokens by the student's tokenizer, words normalised."""

    max_completion_tokens: int
    verification_words: int
    overlong_buffer_tokens: int

    def __post_init__(self) -> None:
        assert self.max_completion_tokens > 0, self
        assert self.verification_words >= 0, self
        assert self.overlong_buffer_tokens >= 0, self


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """The seven terms of one completion, in the law's order; terms.py says what each is."""

    answer: float
    exact: float
    format: float
    keep: float
    dwell: float
    redundancy: float
    length: float


TERM_NAMES = tuple(field.name for field in dataclasses.fields(Terms))


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
    Terms(answer=1.0, exact=1.0, format=1.0, keep=0.0, dwell=0.0, redundancy=0.0, length=0.0)
    """
    assert not isinstance(golds, str), f"golds must be a sequence of texts (got {golds!r})"
    assert golds, "a completion needs at least one gold to be scored"
    parsed = parse_completion(text, prefilled_think=prefilled_think)
    exact = terms.exact_term(parsed.answer, golds)
    return Terms(
        answer=terms.answer_term(parsed.answer, golds),
        exact=exact,
        format=terms.format_term(parsed, stopped=stopped),
        keep=terms.keep_term(parsed.trace, golds, exact=exact),
        dwell=terms.dwell_term(parsed.trace, golds, exact=exact, verification_words=limits.verification_words),
        redundancy=terms.redundancy_term(parsed.trace),
        length=terms.length_term(
            completion_tokens,
            stopped=stopped,
            max_completion_tokens=limits.max_completion_tokens,
            overlong_buffer_tokens=limits.overlong_buffer_tokens,
        ),
    )


def total(scored: Terms, weights: RewardWeights | Mapping[str, float]) -> float:
    """Give the reward: the sum of weight · term, in the law's order. A mapping may leave terms out, and weighs them 0.

    >>> total(Terms(0.5, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0), {"answer": 1.0, "keep": 0.25})
    0.25
    """
    weighed = weights.model_dump() if isinstance(weights, RewardWeights) else dict(weights)
    assert weighed.keys() <= set(TERM_NAMES), f"unknown reward terms {sorted(weighed.keys() - set(TERM_NAMES))}"
    return sum((weighed[name] * getattr(scored, name) for name in TERM_NAMES if name in weighed), 0.0)
