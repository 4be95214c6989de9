import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mbt_lite.errors import DataError
from mbt_lite.records import to_row
from mbt_lite.report.contents import Curve, Report, curve, outcome, read_report, teachers
from mbt_lite.run_dir import RunDir, write_json, write_jsonl


@pytest.mark.parametrize(
    ("exact", "hit", "expected"),
    [(1, 1, "correct"), (1, 0, "correct"), (0, 1, "found and lost"), (0, 0, "never found")],
    ids=["right and derived", "right by luck", "lost", "never"],
)
def test_outcome_of(exact: int, hit: int, expected: str, make_report: Callable[..., Report]) -> None:
    row = make_report().predictions["base"][0]
    assert outcome(dataclasses.replace(row, exact_match=exact, answer_hit=hit)) == expected


def test_curve_takes_the_last_of_a_step_written_twice() -> None:
    rows = [{"step": 2, "loss": 1.5}, {"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"step": 3}, {"loss": 9.0}]
    assert curve("sft", "loss", rows) == Curve("sft", "loss", ((1.0, 2.0), (2.0, 1.0)))


def test_teachers_counts_the_scripted_traces() -> None:
    found = teachers([{"teacher": "b", "scripted": False}, {"teacher": "a", "scripted": True}])
    assert (found.names, found.n_traces, found.n_scripted) == (("a", "b"), 2, 1)


def write_run(path: Path, report: Report) -> RunDir:
    write_json(path / "recipe.resolved.json", report.recipe)
    write_json(path / "environment.json", report.environment)
    for variant, rows in report.predictions.items():
        write_jsonl(path / "eval" / variant / "predictions.jsonl", map(to_row, rows))
        write_json(path / "eval" / variant / "metrics.json", report.metrics[variant])
    return RunDir(path)


def test_read_report_gives_what_the_run_folder_holds(tmp_path: Path, make_report: Callable[..., Report]) -> None:
    report = make_report(4)
    run_dir = write_run(tmp_path / "demo", report)
    write_jsonl(run_dir.path / "sft" / "metrics.jsonl", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])
    write_jsonl(
        run_dir.path / "grpo" / "metrics.jsonl",
        [{"step": 1, "reward": 0.5, "reward/keep": -0.25, "reward/answer": 0.75}],
    )
    found = read_report(run_dir, report.questions.values(), ["base", "sft"])
    assert found.name == "demo"
    assert found.predictions == {variant: tuple(report.predictions[variant]) for variant in ("base", "sft")}
    assert found.metrics["sft"] == report.metrics["sft"]
    assert [(c.source, c.key, c.points) for c in found.curves] == [
        ("sft/metrics.jsonl", "loss", ((1.0, 2.0), (2.0, 1.0))),
        ("grpo/metrics.jsonl", "reward", ((1.0, 0.5),)),
        ("grpo/metrics.jsonl", "reward/answer", ((1.0, 0.75),)),
        ("grpo/metrics.jsonl", "reward/keep", ((1.0, -0.25),)),
    ]
    assert found.teachers.n_traces == 0


def test_read_report_names_a_line_that_is_no_prediction(tmp_path: Path, make_report: Callable[..., Report]) -> None:
    run_dir = write_run(tmp_path, make_report(1))
    path = tmp_path / "eval" / "sft" / "predictions.jsonl"
    path.write_text(json.dumps({"question_id": "q"}) + "\n")
    with pytest.raises(DataError, match=r"predictions\.jsonl:1: not a Prediction"):
        read_report(run_dir, [], ["sft"])
