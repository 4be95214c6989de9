"""From verdicts to means: the measures that only a judge can give, each with its n, its interval, and what is unscored.

Source: arXiv 2602.22508. Overthinking is the mean of 1 - |useful beginning| / |trace| over right completions,
underthinking over wrong ones (right: by the judge). Reach, redundancy and their balance are the Reach-Redundancy
Profile; `quality` is the Metacognitive Quality Index, the mean of level · base tokens / tokens. Where we differ:

1. An answer-inclusive error here takes both judgements, of the answer and of the trace.
2. The base's mean lengths are those of the variant that AES compares with.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mbt_lite.metrics.aggregate import estimates
from mbt_lite.metrics.efficiency import metacognitive_quality, reach_redundancy
from mbt_lite.text.phases import PHASES


@dataclasses.dataclass(frozen=True, slots=True)
class JudgedCompletion:
    """What a judge found in one completion; None where it was not asked, had nothing to judge, or is unscored.

    `useful_share` is |useful beginning| / |trace|; `phases` are those it names; `sentences` counts those of each
    paragraph, `first_correct` and `redundant` are paragraph numbers from 1 (`reach_scored` tells a trace that never
    derives the answer from none).
    """

    question_id: str
    tier: str
    completion_tokens: int
    accuracy: str | None
    hit: bool | None
    useful_share: float | None
    metacognition: int | None
    level: int | None
    phases: tuple[str, ...] | None
    sentences: tuple[int, ...]
    reach_scored: bool
    first_correct: int | None
    redundant: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class BaseLengths:
    """The base variant's mean completion tokens, and the mean sentences of its traces; None where it has none."""

    tokens: float | None
    sentences: float | None


def base_lengths(completions: Sequence[JudgedCompletion]) -> BaseLengths:
    """Take the mean lengths of the base variant."""
    sentences = [sum(one.sentences) for one in completions if one.sentences]
    tokens = [one.completion_tokens for one in completions]
    return BaseLengths(
        math.fsum(tokens) / len(tokens) if sum(tokens) else None,
        math.fsum(sentences) / len(sentences) if sentences else None,
    )


def measures(one: JudgedCompletion, base: BaseLengths | None) -> dict[str, float | None]:
    """Give every judged measure of one completion, None where it has no value."""
    right = None if one.accuracy is None else one.accuracy == "correct"
    lost = None if right is None or one.hit is None else float(not right and one.hit)
    wasted = None if one.useful_share is None else 1 - one.useful_share
    quality = None
    if one.level is not None and base is not None and base.tokens is not None and one.completion_tokens:
        quality = metacognitive_quality(one.level, tokens=one.completion_tokens, base_tokens=base.tokens)
    return {
        "accuracy": None if right is None else float(right),
        "not_attempted": None if one.accuracy is None else float(one.accuracy == "not attempted"),
        "answer_hit": None if one.hit is None else float(one.hit),
        "answer_inclusive_error": lost,
        "overthinking": wasted if right else None,
        "underthinking": wasted if right is False else None,
        "metacognition": one.metacognition,
        **_reach(one, base.sentences if base is not None else None),
        "quality_level": one.level,
        "quality": quality,
        "phase_coverage": None if one.phases is None else len(one.phases) / len(PHASES),
        **{f"phase/{phase}": None if one.phases is None else float(phase in one.phases) for phase in PHASES},
    }


def _reach(one: JudgedCompletion, base_sentences: float | None) -> dict[str, float | None]:
    names = ("reach", "redundancy", "balance", "reach_by_base", "redundancy_by_base", "balance_by_base")
    if not one.reach_scored:
        return dict.fromkeys(names)
    counts: dict[str, Any] = {
        "first_correct": None if one.first_correct is None else sum(one.sentences[: one.first_correct]),
        "redundant": sum(one.sentences[number - 1] for number in one.redundant),
        "total": sum(one.sentences),
    }
    own = reach_redundancy(**counts)
    values: list[float | None] = [own.reach, own.redundancy, own.balance]
    if base_sentences is None:
        values += [None, None, None]
    else:
        by_base = reach_redundancy(**counts, base_mean_total=base_sentences)
        values += [by_base.reach, by_base.redundancy, by_base.balance]
    return dict(zip(names, values, strict=True))


# Levels are no shares, even where all are 0 or 1.
COUNTS = ("metacognition", "quality_level", "quality")
NO_VALUE = "no completion was scored for this"


def aggregate_judged(
    completions: Sequence[JudgedCompletion], base: BaseLengths | None, *, samples: int, seed: int
) -> dict[str, Any]:
    """Give `metrics` (measure -> estimate over questions) and `quality_by_tier` (tier -> estimate)."""
    by_question: dict[str, list[JudgedCompletion]] = {}
    for one in completions:
        by_question.setdefault(one.question_id, []).append(one)
    tiers = {question_id: rows[0].tier for question_id, rows in by_question.items()}
    values = {
        question_id: _means([measures(row, base) for row in rows]) for question_id, rows in sorted(by_question.items())
    }
    names = list(next(iter(values.values()), {}))
    columns = {name: [row[name] for row in values.values()] for name in names}
    by_tier = {
        tier: [row["quality"] for question_id, row in values.items() if tiers[question_id] == tier]
        for tier in sorted(set(tiers.values()))
    }
    reasons = dict.fromkeys([*columns, *by_tier], NO_VALUE)
    drawing: dict[str, Any] = {"samples": samples, "seed": seed, "reasons": reasons}
    return {
        "metrics": estimates(columns, **drawing, counts=COUNTS),
        "quality_by_tier": estimates(by_tier, **drawing, counts=tuple(by_tier)),
    }


def _means(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Give the mean of each measure over the completions of one question that have a value."""
    means: dict[str, float | None] = {}
    for name in rows[0]:
        values = [value for row in rows if (value := row[name]) is not None]
        means[name] = math.fsum(values) / len(values) if values else None
    return means
