"""Paired comparisons as a table: is the difference between two series, question by question, more than noise?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from mbt_lite.metrics.paired import compare
from mbt_lite.report.contents import Report, Run
from mbt_lite.report.measures import Kind
from mbt_lite.report.table import Cell, shown

SAMPLES, SEED = 2000, 0
NOTE = (
    "Differences are the first minus the second, in points or tokens, with 95 % bootstrap intervals over questions and "
    "the p of a paired permutation test; won and lost count questions only one of the two has right (McNemar's exact "
    "test). Each p is of one comparison: whoever looks at many must ask more of each."
)
COLUMNS: tuple[tuple[str, str, Kind], ...] = (
    ("exact_match", "exact match", "share"),
    ("f1", "F1", "share"),
    ("answer_inclusive_error", "found and lost", "share"),
    ("degenerate", "degenerate", "share"),
    ("completion_tokens", "tokens", "tokens"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """One pair: a cell a column of COLUMNS, then won and lost; `note` of a cell holds its p."""

    pair: str
    n: int
    cells: tuple[Cell, ...]


def comparisons(report: Report) -> list[Comparison]:
    """Give a row a pair: within a run as metrics.json has them, between runs the same variant of each and the first."""
    return [_comparison(pair, found) for pair, found in [*_within(report), *_between(report)] if found["n"]]


def uncompared(report: Report) -> list[str]:
    """Say which runs did not answer the first run's questions, so that nothing about them can be paired."""
    first, *others = report.runs
    return [
        f"{run.name} is not compared with {first.name}: they were asked different questions "
        f"({len(_asked(run) & _asked(first))} in common)."
        for run in others
        if not same_questions(run, first)
    ]


def _within(report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
    alone = len(report.runs) == 1
    for series in report.series:
        for other, found in series.metrics.get("paired", {}).items():
            yield f"{series.label} against {other if alone else f'{series.run.name}/{other}'}", found


def _between(report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
    first, *others = report.runs
    for run in others:
        for variant in run.predictions:
            if variant in first.predictions and same_questions(run, first):
                found = compare(run.predictions[variant], first.predictions[variant], samples=SAMPLES, seed=SEED)
                yield f"{run.name}/{variant} against {first.name}/{variant}", found


def same_questions(run: Run, other: Run) -> bool:
    """Tell whether two runs were asked the same questions, so that they can be paired."""
    return _asked(run) == _asked(other)


def _asked(run: Run) -> set[tuple[str, str]]:
    """Give a run's questions by id and text: the ids of many files count from 0."""
    return {(question_id, question.question) for question_id, question in run.questions.items()}


def _comparison(pair: str, found: Mapping[str, Any]) -> Comparison:
    differences = (_difference(found["metrics"][key], kind) for key, _, kind in COLUMNS)
    tested = found["mcnemar"]
    won = Cell("-", "", "several answers each") if tested is None else _won(tested)
    return Comparison(pair, found["n"], (*differences, won))


def _won(tested: Mapping[str, Any]) -> Cell:
    return Cell(f"{tested['won']}, {tested['lost']}", "", p_text(tested["p"]))


def _difference(found: Mapping[str, Any], kind: Kind) -> Cell:
    bounds = "" if found["low"] is None else f"[{_signed(found['low'], kind)}, {_signed(found['high'], kind)}]"
    return Cell(_signed(found["difference"], kind), bounds, p_text(found["p"]))


def _signed(value: float, kind: Kind) -> str:
    return ("+" if value > 0 else "") + shown(kind, value)


def p_text(value: float) -> str:
    """Write a p-value."""
    return "p < 0.001" if value < 0.001 else f"p {value:.3f}"
