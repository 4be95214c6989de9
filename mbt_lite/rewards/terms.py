"""The reward terms: one pure function each, and the list of them.

A new term is a function here with its line in `TERMS`, and its weight in the recipe (`RewardWeights`).

`answer` is an extracted answer or None (see text/completion.py), `trace` the text inside `<think>` or None, `golds` the
answer and its aliases (at least one), `exact` the value of the exact term. Words are normalised words.

`answer` alone is the reward of the official MBT code (arXiv 2602.22508); `length` is the overlong penalty of DAPO
(arXiv 2503.14476); the others are our own. What the definitions leave open, and how it is read here:

1. Two texts without any word are equal: exact 1, answer 1. A gold marked as a number (`#### 72`) equals an answer whose
   last number it is, and no other: there answer is exact.
2. The first mention of a gold is the one that is complete first (see mentions.py).
3. With a buffer of 0 tokens only a truncated completion is overlong.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

from mbt_lite.rewards.mentions import words_through_first_mention
from mbt_lite.text.completion import ParsedCompletion
from mbt_lite.text.normalize import normalize, words
from mbt_lite.text.numbers import is_number_gold, number_in
from mbt_lite.text.overlap import token_f1

NGRAM_WORDS = 4


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


@dataclasses.dataclass(frozen=True)
class Completion:
    """All that a term may look at; `tokens` counts the end-of-turn token too, which stands there iff it `stopped`."""

    parsed: ParsedCompletion
    stopped: bool
    tokens: int
    golds: Sequence[str]
    limits: RewardLimits

    @functools.cached_property
    def exact(self) -> float:
        """The exact term, which others build on."""
        return exact_term(self.parsed.answer, self.golds)


@dataclasses.dataclass(frozen=True, slots=True)
class Term:
    """A term of the law: its range, ends included, and its value for one completion."""

    low: float
    high: float
    value: Callable[[Completion], float]


def answer_term(answer: str | None, golds: Sequence[str]) -> float:
    """Give the largest token F1 between the answer and a gold, 0..1; no answer 0.

    >>> answer_term("New York City", ["Boston", "New York"])
    0.8
    """
    return 0.0 if answer is None else max(_closeness(answer, gold) for gold in golds)


def _closeness(answer: str, gold: str) -> float:
    return float(is_right(answer, gold)) if is_number_gold(gold) else token_f1(answer, gold)


def exact_term(answer: str | None, golds: Sequence[str]) -> float:
    """Give 1 if the normalised answer equals a normalised gold, else 0; no answer 0.

    >>> exact_term("the Beatles!", ["Beatles"])
    1.0
    """
    return float(answer is not None and any(is_right(answer, gold) for gold in golds))


def is_right(answer: str, gold: str) -> bool:
    """Tell whether an answer equals a gold: as normalised text, or as a number where the gold is marked as one.

    >>> is_right("$1,800.00", "#### 1800"), is_right("$1,800.50", "180050")
    (True, True)
    """
    if not is_number_gold(gold):
        return normalize(answer) == normalize(gold)
    value = number_in(answer)
    return value is not None and value == number_in(gold)


def format_term(parsed: ParsedCompletion, *, stopped: bool) -> float:
    """Give 1 if the completion is one think pair, then one answer pair, nothing else, and it stopped by itself; else 0.

    >>> from mbt_lite.text.completion import parse_completion
    >>> format_term(parse_completion("<think>so</think><answer>x</answer>"), stopped=True)
    1.0
    """
    return float(parsed.is_well_formed and stopped)


def keep_term(trace: str | None, golds: Sequence[str], *, exact: float) -> float:
    """Give -1 if the answer is not exact although the trace mentions a gold (it had it and lost it), else 0.

    >>> keep_term("It is Paris. Or is it Rome?", ["Paris"], exact=0.0)
    -1.0
    """
    return -1.0 if not exact and words_through_first_mention(trace or "", golds) is not None else 0.0


def dwell_term(trace: str | None, golds: Sequence[str], *, exact: float, verification_words: int) -> float:
    """Give -max(0, words after first gold mention - verification_words) / words of the trace, on exact answers; else 0.

    >>> dwell_term("It is Paris, is it, or is it?", ["Paris"], exact=1.0, verification_words=1)
    -0.5
    """
    mention = words_through_first_mention(trace or "", golds)
    if not exact or trace is None or mention is None:
        return 0.0
    total = len(words(trace))
    return _negative(max(0, total - mention - verification_words) / total)


def redundancy_term(trace: str | None) -> float:
    """Give -(share of the trace's word 4-grams that occurred earlier in it), -1..0; fewer than four words 0.

    >>> redundancy_term("we look again we look again we")
    -0.25
    """
    sequence = words(trace or "")
    ngrams = list(zip(*(sequence[start:] for start in range(NGRAM_WORDS)), strict=False))
    return _negative((len(ngrams) - len(set(ngrams))) / len(ngrams)) if ngrams else 0.0


def length_term(
    completion_tokens: int, *, stopped: bool, max_completion_tokens: int, overlong_buffer_tokens: int
) -> float:
    """Give 0 up to max - buffer tokens, from there linearly down to -1 at max tokens; truncated (not stopped) -1.

    >>> length_term(950, stopped=True, max_completion_tokens=1000, overlong_buffer_tokens=100)
    -0.5
    """
    if not stopped:
        return -1.0
    excess = completion_tokens - (max_completion_tokens - overlong_buffer_tokens)
    if excess <= 0:
        return 0.0
    return -1.0 if excess >= overlong_buffer_tokens else -excess / overlong_buffer_tokens


def _negative(share: float) -> float:
    """Negate a share without making a negative zero, which logs and kernels would show."""
    return 0.0 - share


def _dwell(completion: Completion) -> float:
    return dwell_term(
        completion.parsed.trace,
        completion.golds,
        exact=completion.exact,
        verification_words=completion.limits.verification_words,
    )


def _length(completion: Completion) -> float:
    return length_term(
        completion.tokens,
        stopped=completion.stopped,
        max_completion_tokens=completion.limits.max_completion_tokens,
        overlong_buffer_tokens=completion.limits.overlong_buffer_tokens,
    )


# In the law's order: rewards are added up in it.
TERMS = {
    "answer": Term(0, 1, lambda completion: answer_term(completion.parsed.answer, completion.golds)),
    "exact": Term(0, 1, lambda completion: completion.exact),
    "format": Term(0, 1, lambda completion: format_term(completion.parsed, stopped=completion.stopped)),
    "keep": Term(
        -1, 0, lambda completion: keep_term(completion.parsed.trace, completion.golds, exact=completion.exact)
    ),
    "dwell": Term(-1, 0, _dwell),
    "redundancy": Term(-1, 0, lambda completion: redundancy_term(completion.parsed.trace)),
    "length": Term(-1, 0, _length),
}
