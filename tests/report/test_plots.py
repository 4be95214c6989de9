import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from mbt_lite.report.charts import Plot
from mbt_lite.report.contents import Report, Run
from mbt_lite.report.plots import accuracy_against_tokens, failures, lengths


def changed(run: Run, **fields: Any) -> Report:
    return Report((dataclasses.replace(run, **fields),))


def rows_of(plot: Plot) -> list[dict[str, Any]]:
    assert plot.spec is not None
    (rows,) = plot.spec["datasets"].values()
    return list(rows)


def test_accuracy_against_tokens_places_each_series_with_its_intervals(make_report: Callable[..., Report]) -> None:
    plot = accuracy_against_tokens(make_report())
    row = next(row for row in rows_of(plot) if row["variant"] == "sft")
    assert [row[key] for key in ("exact", "exact_low", "exact_high")] == pytest.approx([50, 40, 60])
    assert [row[key] for key in ("tokens", "tokens_low", "tokens_high")] == [104, 64, 164]
    assert plot.numbers[2] == {"": "sft", "n": 64, "exact match": "50.0% [40.0, 60.0]", "tokens": "104 [64, 164]"}


def test_accuracy_against_tokens_keeps_a_series_without_scores_in_its_numbers(make_run: Callable[..., Run]) -> None:
    run = make_run(2)
    run.metrics["sft"]["metrics"]["exact_match"] |= {"mean": None, "low": None, "high": None, "n": 0}
    assert accuracy_against_tokens(Report((run,))).numbers[2]["exact match"] == "-"


def test_failures_stacks_outcomes_and_splits_off_what_degenerated(make_run: Callable[..., Run]) -> None:
    run = make_run()
    rows = [
        dataclasses.replace(row, exact_match=0, answer_hit=int(i < 16), degenerate=int(i < 8))
        for i, row in enumerate(run.predictions["sft"])
    ]
    (plot,) = failures(changed(run, predictions={"sft": rows}, metrics={"sft": run.metrics["sft"]}))
    assert plot.title == "How answers fail: mbt"
    assert [(row["outcome"], row["ending"], row["start"], row["end"]) for row in rows_of(plot)] == [
        ("found and lost", "stopped with an answer", 0, 12.5),
        ("found and lost", "degenerate", 12.5, 25),
        ("never found", "stopped with an answer", 25, 100),
    ]
    assert plot.numbers[0]["completions"] == "8 of 64 (12.5%)"


def test_failures_draws_one_plot_a_dataset(make_run: Callable[..., Run]) -> None:
    run = make_run(4)
    questions = dict(run.questions)
    questions["q3"] = dataclasses.replace(questions["q3"], source="my/own ../set")
    one, other = failures(changed(run, questions=questions))
    # a key names a file
    assert (one.key, other.key) == ("failures-mbt", "failures-my-own-set")
    assert rows_of(one)[0]["name"] == "base (n=3)"
    assert {row["name"] for row in rows_of(other)} == {"base (n=1)", "metacognitive (n=1)", "sft (n=1)"}


def test_lengths_has_every_completion_and_its_quantiles(make_report: Callable[..., Report]) -> None:
    plot = lengths(make_report(5))
    assert len(rows_of(plot)) == 15
    # 90, 91, 92, 93, 94 tokens
    assert plot.numbers[0] == {
        "": "base", "completions": 5, "5 %": "90", "25 %": "91", "median": "92", "75 %": "93", "95 %": "94",
    }  # fmt: skip


def test_lengths_of_a_single_completion_are_that_one(make_report: Callable[..., Report]) -> None:
    assert lengths(make_report(1)).numbers[0]["median"] == "90"
