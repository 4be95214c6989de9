"""What the report shows, read from a run folder: metrics, predictions, training curves, who wrote the traces."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mbt_lite.metrics.traces import answer_inclusive_error
from mbt_lite.records import Prediction, Question, from_row
from mbt_lite.run_dir import RunDir, read_json, read_jsonl

Outcome = Literal["correct", "found and lost", "never found"]
OUTCOMES: tuple[Outcome, ...] = ("correct", "found and lost", "never found")


@dataclasses.dataclass(frozen=True, slots=True)
class Curve:
    """One number over training steps; `points` is empty where the run has none, `source` is the file it comes from."""

    stage: str
    key: str
    points: tuple[tuple[float, float], ...]

    @property
    def source(self) -> str:
        """The file of the run folder that holds the curve."""
        return f"{self.stage}/metrics.jsonl"


@dataclasses.dataclass(frozen=True, slots=True)
class Teachers:
    """Who wrote the run's traces: names, how many traces, and how many of them by the rule-based teacher."""

    names: tuple[str, ...]
    n_traces: int
    n_scripted: int


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """Everything the page shows. `metrics` and `predictions` are by variant, in the order of the columns."""

    name: str
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    questions: Mapping[str, Question]
    metrics: Mapping[str, Mapping[str, Any]]
    predictions: Mapping[str, Sequence[Prediction]]
    curves: tuple[Curve, ...]
    teachers: Teachers


def outcome(prediction: Prediction) -> Outcome:
    """Name how a completion ended: right, wrong though a gold was derived, or wrong without."""
    if prediction.exact_match:
        return "correct"
    is_lost = answer_inclusive_error(prediction.exact_match, prediction.answer_hit)
    return "found and lost" if is_lost else "never found"


def read_report(run_dir: RunDir, questions: Iterable[Question], variants: Sequence[str]) -> Report:
    """Read a run folder whose variants are scored.

    Raises DataError for a file that is broken or written by another version.
    """
    folder = run_dir.stage_dir("eval")
    rewards = read_jsonl(run_dir.stage_dir("grpo") / "metrics.jsonl")
    reward_terms = sorted({key for row in rewards for key in row if key.startswith("reward/")})
    return Report(
        name=run_dir.path.name,
        recipe=read_json(run_dir.path / "recipe.resolved.json"),
        environment=read_json(run_dir.path / "environment.json"),
        questions={question.question_id: question for question in questions},
        metrics={variant: read_json(folder / variant / "metrics.json") for variant in variants},
        predictions={variant: read_predictions(folder / variant / "predictions.jsonl") for variant in variants},
        curves=(
            curve("sft", "loss", read_jsonl(run_dir.stage_dir("sft") / "metrics.jsonl")),
            *(curve("grpo", key, rewards) for key in ["reward", *reward_terms]),
        ),
        teachers=teachers(read_jsonl(run_dir.stage_dir("gen") / "traces.jsonl")),
    )


def read_predictions(path: Path) -> tuple[Prediction, ...]:
    """Read scored completions; DataError names the line that is none."""
    return tuple(from_row(Prediction, row, f"{path}:{number}") for number, row in enumerate(read_jsonl(path), 1))


def curve(stage: str, key: str, rows: Iterable[Mapping[str, Any]]) -> Curve:
    """Take one number from training rows; of a step written twice (a resumed run) the last counts."""
    points = {float(row["step"]): float(row[key]) for row in rows if "step" in row and row.get(key) is not None}
    return Curve(stage, key, tuple(sorted(points.items())))


def teachers(rows: Sequence[Mapping[str, Any]]) -> Teachers:
    """Count the traces of a run by who wrote them."""
    return Teachers(
        names=tuple(sorted({row["teacher"] for row in rows})),
        n_traces=len(rows),
        n_scripted=sum(bool(row["scripted"]) for row in rows),
    )
