"""Trace metrics by rule: was the answer in the trace, when, was it lost, what is said twice.

Source: answer-inclusive and answer-exclusive errors of arXiv 2602.22508. Where we differ:

1. The hit is by rule (a gold mentioned in the trace, by the same function as the reward's `keep`), not by a judge.
2. Repeated 4-grams are the reward law's; a completion without a trace has no share of them.
3. Bridges, the gold intermediate results, are mentioned as golds are; a trace that is not there mentions none.
4. Which phases a trace shows is read by phase_reader.py, or told by a judge.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mbt_lite.records import PhaseSpan
from mbt_lite.rewards.mentions import contains_words, mentionable, words_through_first_mention
from mbt_lite.rewards.terms import redundancy_term
from mbt_lite.text.normalize import normalize, words
from mbt_lite.text.phases import PHASES


@dataclasses.dataclass(frozen=True, slots=True)
class TraceFigures:
    """What is counted in one trace, as `Prediction` holds it; all None without a trace."""

    trace_words: int | None
    words_to_mention: int | None
    repeated_4grams: float | None


def trace_figures(trace: str | None, golds: Sequence[str]) -> TraceFigures:
    """Count what the reward law counts, for every trace, whether the answer is right or not.

    >>> trace_figures("First, we need the town. It is Paris.", ["Paris"])
    TraceFigures(trace_words=7, words_to_mention=7, repeated_4grams=0.0)
    """
    if trace is None:
        return TraceFigures(None, None, None)
    return TraceFigures(
        trace_words=len(words(trace)),
        words_to_mention=words_through_first_mention(trace, golds),
        repeated_4grams=abs(redundancy_term(trace)),
    )


def phase_coverage(phases: Sequence[PhaseSpan] | None) -> float | None:
    """Give the share of the five phases that a trace shows, 0..1; None where nothing could read them.

    >>> phase_coverage([PhaseSpan("plan", 0, 9), PhaseSpan("verify", 11, 30), PhaseSpan("plan", 32, 40)])
    0.4
    """
    return None if phases is None else len({span.phase for span in phases}) / len(PHASES)


def answer_hit(trace: str | None, golds: Sequence[str]) -> int:
    """Give 1 if the trace mentions a gold, else 0; no trace 0. What is a mention: rewards/mentions.py.

    >>> answer_hit("So it is Paris. Or Rome?", ["Paris"])
    1
    """
    return int(words_through_first_mention(trace or "", golds) is not None)


def bridge_hit(trace: str | None, bridges: Sequence[str]) -> float | None:
    """Give the share of a question's bridges that the trace mentions, 0..1; None where none can be mentioned.

    >>> bridge_hit("Silent Garden was directed by Ann Lee.", ["Ann Lee", "Oakford"])
    0.5
    """
    said, wanted = normalize(trace or ""), mentionable(bridges)
    return sum(contains_words(said, bridge) for bridge in wanted) / len(wanted) if wanted else None


def answer_inclusive_error(exact_match: int, hit: int) -> int:
    """Give 1 if the answer is wrong although the trace had it (it was lost), else 0.

    >>> answer_inclusive_error(exact_match=0, hit=1)
    1
    """
    return (1 - exact_match) * hit


def answer_exclusive_error(exact_match: int, hit: int) -> int:
    """Give 1 if the answer is wrong and the trace never had it, else 0.

    >>> answer_exclusive_error(exact_match=0, hit=0)
    1
    """
    return (1 - exact_match) * (1 - hit)


def is_degenerate(answer: str | None, *, stopped: bool) -> bool:
    """Tell whether a completion did not stop by itself or has no closed answer.

    >>> is_degenerate("Rome", stopped=False)
    True
    """
    return not stopped or answer is None
