"""What the report shows, read from run folders: metrics, predictions, training curves, who wrote the traces.

A series is one variant of one run: a column of the table, a mark of a plot, a side of the trace browser.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mbt_lite.errors import DataError, RunError
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.metrics.traces import answer_inclusive_error
from mbt_lite.recipe.variants import names_of
from mbt_lite.records import Prediction, Question, from_row
from mbt_lite.run_dir import RECIPE_FILE, RunDir

Outcome = Literal["correct", "found and lost", "never found"]
# The figures of a step that are drawn where it has forecasts.
FORECASTS = ("extra/total", "masa/constant_total", "masa/solve_tokens", "masa/meta_tokens", "masa/tokens_saved")
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
class Reach:
    """A judge's verdict by paragraph number, from 1: where the answer is first derived, what is redundant."""

    first_correct: int | None
    redundant: frozenset[int]


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Everything the page shows of one run. `metrics` and `predictions` are by variant, in the order of the columns.

    `reaches` and `judged_phases` are by variant and (question id, rollout index); empty without a judge. `servers` are
    lines about what the endpoints gave away about themselves, `peaks`, `saved` and `warnings` about training.
    """

    name: str
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    questions: Mapping[str, Question]
    metrics: Mapping[str, Mapping[str, Any]]
    predictions: Mapping[str, Sequence[Prediction]]
    curves: tuple[Curve, ...]
    teachers: Teachers
    reaches: Mapping[str, Mapping[tuple[str, int], Reach]]
    judged_phases: Mapping[str, Mapping[tuple[str, int], Sequence[str]]]
    servers: tuple[str, ...]
    peaks: tuple[str, ...] = ()
    saved: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


TRAINED = ("sft", "grpo")


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """One variant of one run; `label` is unique in the report."""

    label: str
    run: Run
    variant: str

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The variant's metrics.json."""
        return self.run.metrics[self.variant]

    @property
    def predictions(self) -> Sequence[Prediction]:
        """The variant's scored completions."""
        return self.run.predictions[self.variant]


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The runs of one report, at least one, with names of their own."""

    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """The runs' names in a row."""
        return ", ".join(run.name for run in self.runs)

    @property
    def series(self) -> list[Series]:
        """All variants of all runs; the run is named only where there are several."""
        alone = len(self.runs) == 1
        return [
            Series(variant if alone else f"{run.name}/{variant}", run, variant)
            for run in self.runs
            for variant in run.metrics
        ]

    @property
    def metrics(self) -> dict[str, Mapping[str, Any]]:
        """The metrics.json of every series, by label."""
        return {series.label: series.metrics for series in self.series}


def outcome(prediction: Prediction) -> Outcome:
    """Name how a completion ended: right, wrong though a gold was derived, or wrong without."""
    if prediction.exact_match:
        return "correct"
    is_lost = answer_inclusive_error(prediction.exact_match, prediction.answer_hit)
    return "found and lost" if is_lost else "never found"


def read_report(paths: Sequence[Path]) -> Report:
    """Read run folders with everything scored in them; those that share a name are named by their paths.

    Raises RunError for a folder that is no run, has nothing scored or is there twice, DataError for a broken file.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise RunError(f"report: a run is there twice (got {', '.join(map(str, paths))}); name each once")
    runs = [read_run(path, scored_variants(path)) for path in paths]
    times = Counter(run.name for run in runs)
    return Report(
        tuple(
            dataclasses.replace(run, name=str(path)) if times[run.name] > 1 else run
            for run, path in zip(runs, paths, strict=True)
        )
    )


def scored_variants(path: Path) -> list[str]:
    """Name the variants scored in a run folder, the recipe's first and in its order; RunError if there are none."""
    if not (path / RECIPE_FILE).exists():
        raise RunError(f"{path}: not a run folder ({RECIPE_FILE} is not there); name the folder that --out named")
    there = {file.parent.name for file in (path / "eval").glob("*/metrics.json")}
    if not there:
        raise RunError(f"{path}: nothing is scored in it; run `mbt-lite eval` first")
    listed = [name for name in _listed_variants(path / RECIPE_FILE) if name in there]
    return [*listed, *sorted(there - set(listed))]


def _listed_variants(recipe: Path) -> list[str]:
    try:
        return names_of(read_json(recipe, eval=dict)["eval"]["variants"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{recipe}: `eval.variants` is not what was written; bring a whole one back") from error


def read_run(path: Path, variants: Sequence[str]) -> Run:
    """Read a run folder whose variants are scored.

    Raises DataError for a file that is broken or written by another version, RunError for one that is missing.
    """
    run_dir = RunDir(path)
    folder = run_dir.stage_dir("eval")
    rewards = read_jsonl(run_dir.stage_dir("grpo") / "metrics.jsonl", step=int)
    judgements = {variant: read_jsonl(folder / variant / "judgements.jsonl") for variant in variants}
    metrics = {variant: read_metrics(folder / variant / "metrics.json") for variant in variants}
    keys = {key for row in rewards for key in row}
    curves = [
        "reward",
        *sorted(key for key in keys if key.startswith("reward/")),
        *(key for key in FORECASTS if key in keys),
    ]
    return Run(
        name=path.resolve().name,
        recipe=read_json(path / RECIPE_FILE),
        environment=read_json(path / "environment.json", python=str, packages=dict),
        questions={question.question_id: question for question in read_asked(folder / "questions.jsonl")},
        metrics=metrics,
        predictions={
            variant: read_predictions(folder / variant / "predictions.jsonl", card["n_predictions"])
            for variant, card in metrics.items()
        },
        curves=(
            curve("sft", "loss", read_jsonl(run_dir.stage_dir("sft") / "metrics.jsonl", step=int)),
            *(curve("grpo", key, rewards) for key in curves),
        ),
        teachers=teachers(read_jsonl(run_dir.stage_dir("gen") / "traces.jsonl", teacher=str, scripted=bool)),
        reaches={variant: reaches(rows) for variant, rows in judgements.items()},
        judged_phases={variant: judged_phases(rows) for variant, rows in judgements.items()},
        servers=servers(run_dir),
        peaks=tuple(filter(None, (peaks(run_dir, stage) for stage in TRAINED))),
        saved=tuple(filter(None, [saved(run_dir)])),
        warnings=tuple(filter(None, (warnings(run_dir, stage) for stage in TRAINED))),
    )


def peaks(run_dir: RunDir, stage: str) -> str:
    """Say the most memory that each phase of a training stage held; nothing of runs that did not watch it."""
    rows = read_jsonl(run_dir.stage_dir(stage) / "metrics.jsonl", step=int)
    most: dict[str, float] = {}
    for row in rows:
        for key in row:
            phase = key.removeprefix("memory/").removesuffix("_gib")
            if key == f"memory/{phase}_gib" and phase not in ("peak", "held"):
                most[phase] = max(most.get(phase, 0.0), row[key])
    said = ", ".join(f"{phase} {size:.1f}" for phase, size in sorted(most.items(), key=lambda one: -one[1]))
    return f"{stage} memory at most {said} GiB" if said else ""


def saved(run_dir: RunDir) -> str:
    """Say about how many tokens of solutions forecasts saved, in the steps in which they came first."""
    found = read_jsonl(run_dir.stage_dir("grpo") / "metrics.jsonl", step=int)
    rows = [row for row in found if "masa/tokens_saved" in row]
    if not rows:
        return ""
    left_out, written, foretold = (
        sum(row[f"masa/{name}"] for row in rows) for name in ("tokens_saved", "solve_tokens", "meta_tokens")
    )
    share = left_out / (left_out + written + foretold)
    return (
        f"grpo, forecasts first in {len(rows)} steps: questions that were not solved saved about {share:.0%} of the "
        "tokens, at the mean length of the others"
    )


def warnings(run_dir: RunDir, stage: str) -> str:
    """Say what the watches of a training stage warned of, the first three in words."""
    rows = read_jsonl(run_dir.stage_dir(stage) / "warnings.jsonl", step=int, name=str, meaning=str)
    said = "; ".join(f"step {row['step']}, {row['name']}: {row['meaning']}" for row in rows[:3])
    more = f"; {len(rows) - 3} more in {stage}/warnings.jsonl" if len(rows) > 3 else ""
    return f"{stage}, {said}{more}" if said else ""


def servers(run_dir: RunDir) -> tuple[str, ...]:
    """Read what the endpoints of a run gave away about themselves: of those that were asked, and wrote it down."""
    files = [run_dir.stage_dir("gen") / "servers.json"]
    files += [run_dir.stage_dir("eval") / f"{prefix}servers.json" for prefix in ("", "judge_")]
    told = (read_json(file) for file in files if file.exists())
    return tuple(f"{key}: {line}" for notes in told for key, lines in notes.items() for line in lines)


def read_asked(path: Path) -> list[Question]:
    """Read the questions as the variants were asked them; RunError if eval did not write them yet."""
    if not path.exists():
        raise RunError(
            f"{path}: not there, the run was scored by an older version; "
            "run `mbt-lite eval` again, it scores the stored completions anew"
        )
    return [from_row(Question, row, f"{path}:{number}") for number, row in enumerate(read_jsonl(path), 1)]


def read_metrics(path: Path) -> dict[str, Any]:
    """Read a variant's means; RunError if an older version counted other phases."""
    metrics: dict[str, Any] = read_json(path, n_questions=int, n_predictions=int, metrics=dict)
    if "phases" not in metrics:
        raise RunError(
            f"{path}: does not say how its phases were read, the run was scored by an older version; "
            "run `mbt-lite eval` again, it scores the stored completions anew"
        )
    return metrics


def read_predictions(path: Path, wanted: int) -> tuple[Prediction, ...]:
    """Read scored completions; DataError names the line that is none, or a file that has not as many as were scored."""
    rows = tuple(from_row(Prediction, row, f"{path}:{number}") for number, row in enumerate(read_jsonl(path), 1))
    if len(rows) != wanted:
        raise DataError(
            f"{path}: holds {len(rows)} of the {wanted} predictions that were scored; "
            "run `mbt-lite eval` again, it scores the stored completions anew"
        )
    return rows


def curve(stage: str, key: str, rows: Iterable[Mapping[str, Any]]) -> Curve:
    """Take one number from training rows; of a step written twice (a resumed run) the last counts."""
    points = {float(row["step"]): float(row[key]) for row in rows if "step" in row and row.get(key) is not None}
    return Curve(stage, key, tuple(sorted(points.items())))


def reaches(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], Reach]:
    """Take a judge's first verdicts on reach from its judgements; an unscored completion has none."""
    return {
        place: Reach(verdict["first_correct"], frozenset(verdict["redundant"]))
        for place, verdict in _verdicts(rows, "reach").items()
    }


def judged_phases(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], Sequence[str]]:
    """Take the phases that a judge's first verdicts name."""
    return {place: verdict["phases"] for place, verdict in _verdicts(rows, "quality").items()}


def _verdicts(rows: Iterable[Mapping[str, Any]], kind: str) -> dict[tuple[str, int], Mapping[str, Any]]:
    return {
        (row["question_id"], row["rollout_index"]): row["verdict"]
        for row in rows
        if row["kind"] == kind and row["repeat"] == 0 and row["verdict"] is not None
    }


def teachers(rows: Sequence[Mapping[str, Any]]) -> Teachers:
    """Count the traces of a run by who wrote them."""
    return Teachers(
        names=tuple(sorted({row["teacher"] for row in rows})),
        n_traces=len(rows),
        n_scripted=sum(bool(row["scripted"]) for row in rows),
    )
