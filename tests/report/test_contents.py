import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_run import write_run

from mbt_lite.errors import DataError, RunError
from mbt_lite.files import write_json, write_jsonl
from mbt_lite.report.contents import (
    Curve,
    Reach,
    Report,
    Run,
    curve,
    judged_phases,
    outcome,
    reaches,
    read_report,
    read_run,
    scored_variants,
    teachers,
)


@pytest.mark.parametrize(
    ("exact", "hit", "expected"),
    [(1, 1, "correct"), (1, 0, "correct"), (0, 1, "found and lost"), (0, 0, "never found")],
    ids=["right and derived", "right by luck", "lost", "never"],
)
def test_outcome_of(exact: int, hit: int, expected: str, make_run: Callable[..., Run]) -> None:
    row = make_run(1).predictions["base"][0]
    assert outcome(dataclasses.replace(row, exact_match=exact, answer_hit=hit)) == expected


def test_curve_takes_the_last_of_a_step_written_twice() -> None:
    rows = [{"step": 2, "loss": 1.5}, {"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"step": 3}, {"loss": 9.0}]
    assert curve("sft", "loss", rows) == Curve("sft", "loss", ((1.0, 2.0), (2.0, 1.0)))


def test_teachers_counts_the_scripted_traces() -> None:
    found = teachers([{"teacher": "b", "scripted": False}, {"teacher": "a", "scripted": True}])
    assert (found.names, found.n_traces, found.n_scripted) == (("a", "b"), 2, 1)


def test_reaches_takes_the_first_verdict_that_is_one() -> None:
    def row(rollout: int, kind: str, repeat: int, verdict: object) -> dict[str, object]:
        return {"question_id": "q", "rollout_index": rollout, "kind": kind, "repeat": repeat, "verdict": verdict}

    verdict = {"first_correct": 2, "redundant": [3, 4]}
    rows = [
        row(0, "hit", 0, {"hit": True}), row(0, "reach", 0, verdict), row(0, "reach", 1, verdict | {"redundant": []}),
        row(1, "reach", 0, None),
    ]  # fmt: skip
    assert reaches(rows) == {("q", 0): Reach(2, frozenset({3, 4}))}


def test_read_run_gives_what_the_run_folder_holds(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    run = make_run(4)
    path = write_run(tmp_path / "demo", run)
    write_jsonl(path / "sft" / "metrics.jsonl", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])
    write_jsonl(
        path / "grpo" / "metrics.jsonl", [{"step": 1, "reward": 0.5, "reward/keep": -0.25, "reward/answer": 0.75}]
    )
    found = read_run(path, ["base", "sft"])
    assert found.name == "demo"
    assert found.questions == run.questions
    assert found.predictions == {variant: tuple(run.predictions[variant]) for variant in ("base", "sft")}
    assert found.metrics["sft"] == run.metrics["sft"]
    assert [(c.source, c.key, c.points) for c in found.curves] == [
        ("sft/metrics.jsonl", "loss", ((1.0, 2.0), (2.0, 1.0))),
        ("grpo/metrics.jsonl", "reward", ((1.0, 0.5),)),
        ("grpo/metrics.jsonl", "reward/answer", ((1.0, 0.75),)),
        ("grpo/metrics.jsonl", "reward/keep", ((1.0, -0.25),)),
    ]
    assert found.teachers.n_traces == 0
    assert found.reaches == {"base": {}, "sft": {}}


def test_read_run_says_what_phases_held_and_what_the_watches_warned_of(
    tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    path = write_run(tmp_path / "demo", make_run(4))
    write_jsonl(path / "grpo" / "metrics.jsonl", [
        {"step": 1, "memory/peak_gib": 9.0, "memory/rollouts_gib": 2.0, "memory/backward_gib": 3},
        {"step": 2, "memory/held_gib": 8.0, "memory/rollouts_gib": 4.04},
    ])  # fmt: skip
    rows = [{"step": step, "name": "entropy", "meaning": "low"} for step in range(1, 6)]
    write_jsonl(path / "grpo" / "warnings.jsonl", rows)
    found = read_run(path, ["base"])
    assert found.peaks == ("grpo memory at most rollouts 4.0, backward 3.0 GiB",)
    assert found.warnings == (
        "grpo, step 1, entropy: low; step 2, entropy: low; step 3, entropy: low; 2 more in grpo/warnings.jsonl",
    )


def test_read_run_says_about_how_much_forecasts_saved(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    path = write_run(tmp_path / "demo", make_run(4))
    told = {"masa/solve_tokens": 600.0, "masa/meta_tokens": 300.0}
    rows: list[dict[str, float]] = [{"step": 1, **told}, {"step": 2, **told, "masa/tokens_saved": 100.0}]
    write_jsonl(path / "grpo" / "metrics.jsonl", rows)
    [said] = read_run(path, ["base"]).saved
    assert said.startswith("grpo, forecasts first in 1 steps: questions that were not solved saved about 10% of the")
    write_jsonl(path / "grpo" / "metrics.jsonl", rows[:1])
    assert read_run(path, ["base"]).saved == ()


@pytest.mark.parametrize("phases", [["plan"], "plan", [3], [{"phase": "plan"}]])
def test_read_run_names_a_line_whose_phases_are_no_spans(
    phases: object, tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    path = write_run(tmp_path, make_run(1))
    file = path / "eval" / "sft" / "predictions.jsonl"
    file.write_text(json.dumps({**json.loads(file.read_text()), "phases": phases}) + "\n")
    with pytest.raises(DataError, match=r"predictions\.jsonl:1: (not a Prediction: phases|not a PhaseSpan).* anew"):
        read_run(path, ["sft"])


def test_read_run_refuses_metrics_of_an_older_version_in_one_line(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    run = make_run(1)
    del run.metrics["sft"]["phases"]  # type: ignore[attr-defined]
    path = write_run(tmp_path, run)
    with pytest.raises(
        RunError, match=r"^.*metrics\.json: does not say how its phases were read.*run `mbt-lite eval` again"
    ):
        read_run(path, ["sft"])


def test_judged_phases_are_the_first_verdicts_of_the_judge() -> None:
    row = {"question_id": "q", "rollout_index": 0, "kind": "quality", "repeat": 0, "verdict": {"phases": ["plan"]}}
    others = [{**row, "repeat": 1, "verdict": {"phases": []}}, {**row, "question_id": "p", "verdict": None}]
    assert judged_phases([row, *others, {**row, "question_id": "o", "kind": "hit"}]) == {("q", 0): ["plan"]}


def test_read_run_names_a_line_that_is_no_prediction(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    path = write_run(tmp_path, make_run(1))
    (path / "eval" / "sft" / "predictions.jsonl").write_text(json.dumps({"question_id": "q"}) + "\n")
    with pytest.raises(DataError, match=r"predictions\.jsonl:1: not a Prediction"):
        read_run(path, ["sft"])


@pytest.mark.parametrize("kept", [0, 1])
def test_read_run_refuses_predictions_that_are_not_all_there(
    kept: int, tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    path = write_run(tmp_path, make_run(2))
    file = path / "eval" / "sft" / "predictions.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:kept]))
    with pytest.raises(
        DataError, match=rf"predictions\.jsonl: holds {kept} of the 2 predictions.*`mbt-lite eval` again"
    ):
        read_run(path, ["sft"])


def test_read_run_refuses_a_run_without_its_questions(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    path = write_run(tmp_path, make_run(1))
    (path / "eval" / "questions.jsonl").unlink()
    with pytest.raises(RunError, match=r"questions\.jsonl: not there.*run `mbt-lite eval` again"):
        read_run(path, ["sft"])


def test_scored_variants_stand_in_the_recipe_s_order(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    path = write_run(tmp_path, make_run(1))
    write_json(path / "eval" / "a_later_one" / "metrics.json", {})
    assert scored_variants(path) == ["base", "metacognitive", "sft", "a_later_one"]


@pytest.mark.parametrize(
    ("files", "said"),
    [([], "not a run folder"), (["recipe.resolved.json"], "nothing is scored in it; run `mbt-lite eval` first")],
    ids=["no run", "no scores"],
)
def test_scored_variants_refuses(files: list[str], said: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(RunError, match=said):
        scored_variants(tmp_path)


def test_read_report_names_runs_of_one_name_by_their_paths(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    paths = [write_run(tmp_path / place / "demo", make_run(1)) for place in ("a", "b")]
    other = write_run(tmp_path / "other", make_run(1))
    assert [run.name for run in read_report([*paths, other]).runs] == [*map(str, paths), "other"]


def test_read_report_refuses_a_run_that_is_there_twice(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    path = write_run(tmp_path / "demo", make_run(1))
    with pytest.raises(RunError, match="a run is there twice"):
        read_report([path, tmp_path / "." / "demo"])


def test_series_are_named_by_run_only_where_there_are_several(make_run: Callable[..., Run]) -> None:
    one, other = make_run(1, name="one"), make_run(1, name="other")
    assert [series.label for series in Report((one,)).series] == ["base", "metacognitive", "sft"]
    labels = [series.label for series in Report((one, other)).series]
    assert labels[0] == "one/base"
    assert labels[-1] == "other/sft"
    assert list(Report((one, other)).metrics) == labels
