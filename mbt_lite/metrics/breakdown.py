"""The same means per kind of question: number of hops, the dataset's question type, difficulty tier.

A question's level is its tier where its dataset has levels; else its layout ranks it, by arXiv 2602.22508 v2: see each
`tier` in `layouts/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mbt_lite.layouts import sources
from mbt_lite.layouts.layout import Tier
from mbt_lite.metrics.aggregate import aggregate
from mbt_lite.records import Prediction, Question

_TIERS: tuple[Tier, ...] = ("easy", "medium", "hard")
UNKNOWN = "unknown"
BROKEN_DOWN = (
    "exact_match", "f1", "completion_tokens", "answer_inclusive_error", "answer_exclusive_error", "degenerate",
    "phase_coverage",
)  # fmt: skip


def tier(question: Question) -> Tier | None:
    """Give the difficulty tier of a question, None where its dataset's rule says nothing of it.

    >>> tier(Question("q", "Who?", "Ann", (), (), "musique", hops=3))
    'medium'
    """
    own = next((tier for tier in _TIERS if tier == question.level), None)
    layout = sources().get(question.source)
    return own or (layout.tier(question) if layout is not None else None)


GROUPINGS: Mapping[str, Callable[[Question], object]] = {
    "hops": lambda question: question.hops,
    "question_type": lambda question: question.question_type,
    "tier": tier,
}


def break_down(
    predictions: Sequence[Prediction],
    questions: Mapping[str, Question],
    *,
    samples: int,
    seed: int,
    only: Sequence[str] = BROKEN_DOWN,
) -> dict[str, dict[str, Any]]:
    """Give grouping -> group -> what `aggregate` gives; a grouping that no question has is left out.

    Questions that a grouping says nothing of are its group `unknown`.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, group_of in GROUPINGS.items():
        groups: dict[str, list[Prediction]] = {}
        for prediction in predictions:
            group = group_of(questions[prediction.question_id])
            groups.setdefault(UNKNOWN if group is None else str(group), []).append(prediction)
        if groups.keys() - {UNKNOWN}:
            found[name] = {
                group: aggregate(groups[group], samples=samples, seed=seed, only=only)
                for group in sorted(groups, key=_in_order)
            }
    return found


def _in_order(group: str) -> tuple[int, str]:
    """Put tiers in their order and what is unknown last; numbers and words sort by themselves."""
    order = (*_TIERS, UNKNOWN)
    return (order.index(group) + 1, group) if group in order else (0, group)
