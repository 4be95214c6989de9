"""The same means per kind of question: number of hops, the dataset's question type, difficulty tier.

Source of the tiers: arXiv 2602.22508 v2. MuSiQue 2/3/4 hops are easy/medium/hard; HotpotQA has its own level; 2Wiki
comparison is easy, inference and compositional are medium, bridge_comparison is hard. Where we differ:

1. A HotpotQA record without a level: comparison is easy, bridge is medium. The paper calls it hard from three
   supporting facts on, which our records do not count; the released files all have levels.
2. Our own questions take their level, or their hops as MuSiQue's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from mbt_lite.metrics.aggregate import aggregate
from mbt_lite.records import Prediction, Question

Tier = Literal["easy", "medium", "hard"]

TIER_BY_LEVEL: dict[str, Tier] = {"easy": "easy", "medium": "medium", "hard": "hard"}
TIER_BY_HOPS: dict[int, Tier] = {2: "easy", 3: "medium", 4: "hard"}
TIER_BY_TYPE: dict[tuple[str, str], Tier] = {
    ("hotpot", "comparison"): "easy",
    ("hotpot", "bridge"): "medium",
    ("2wiki", "comparison"): "easy",
    ("2wiki", "inference"): "medium",
    ("2wiki", "compositional"): "medium",
    ("2wiki", "bridge_comparison"): "hard",
}

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
    if question.level in TIER_BY_LEVEL:
        return TIER_BY_LEVEL[question.level]
    if question.source in ("musique", "mbt", "synthetic"):
        return None if question.hops is None or question.hops not in TIER_BY_HOPS else TIER_BY_HOPS[question.hops]
    kind = (question.source, question.question_type or "")
    return TIER_BY_TYPE.get(kind)


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
    order = (*TIER_BY_LEVEL, UNKNOWN)
    return (order.index(group) + 1, group) if group in order else (0, group)
