import base64
import dataclasses
import gzip
import json
from collections.abc import Callable

from mbt_lite.metrics.paired import compare
from mbt_lite.report.comparisons import COLUMNS, comparisons, uncompared
from mbt_lite.report.contents import Report, Run
from mbt_lite.report.pack import pack_traces
from mbt_lite.report.table import Cell


def compared(run: Run) -> Run:
    """Give the run with what eval writes for sft against base."""
    found = compare(run.predictions["sft"], run.predictions["base"], samples=200, seed=0)
    return dataclasses.replace(run, metrics=run.metrics | {"sft": run.metrics["sft"] | {"paired": {"base": found}}})


def test_comparisons_are_none_where_eval_compared_nothing(make_report: Callable[..., Report]) -> None:
    assert comparisons(make_report(2)) == []


def test_comparisons_within_a_run_are_those_of_metrics_json(make_run: Callable[..., Run]) -> None:
    (row,) = comparisons(Report((compared(make_run(64)),)))
    assert (row.pair, row.n) == ("sft against base", 64)
    assert len(row.cells) == len(COLUMNS) + 1
    # right: 32 even numbers against 13 multiples of five, of which 7 are both
    assert row.cells[0].value == "+29.7"
    assert row.cells[0].interval.startswith("[+")
    assert row.cells[-1] == Cell("25, 6", "", "p < 0.001")


def test_comparisons_between_runs_take_the_same_variant(make_run: Callable[..., Run]) -> None:
    one, other = make_run(8, name="one"), make_run(8, name="other")
    pairs = [row.pair for row in comparisons(Report((one, other)))]
    assert pairs == [f"other/{variant} against one/{variant}" for variant in ("base", "metacognitive", "sft")]
    assert comparisons(Report((one, other)))[0].cells[0] == Cell("0", "", "p 1.000")
    assert uncompared(Report((one, other))) == []


def test_comparisons_between_runs_need_the_same_questions(make_run: Callable[..., Run]) -> None:
    report = Report((make_run(8, name="one"), make_run(9, name="other")))
    assert comparisons(report) == []
    assert uncompared(report) == ["other is not compared with one: they were asked different questions (8 in common)."]


def test_questions_that_share_their_ids_alone_are_not_compared(make_run: Callable[..., Run]) -> None:
    one, other = make_run(8, name="one"), make_run(8, name="other")
    others = {name: dataclasses.replace(question, question=f"{name}?") for name, question in other.questions.items()}
    report = Report((one, dataclasses.replace(other, questions=others)))
    assert comparisons(report) == []
    assert uncompared(report) == ["other is not compared with one: they were asked different questions (0 in common)."]
    packed = json.loads(gzip.decompress(base64.b64decode(pack_traces(report))))
    assert [len(entry["predictions"]) for entry in packed["questions"]] == 16 * [3]


def test_comparisons_of_several_answers_have_no_won_and_lost(make_run: Callable[..., Run]) -> None:
    run = make_run(8)
    twice = {
        variant: [dataclasses.replace(row, rollout_index=index) for row in rows for index in (0, 1)]
        for variant, rows in run.predictions.items()
    }
    (row,) = comparisons(Report((compared(dataclasses.replace(run, predictions=twice)),)))
    assert row.cells[-1] == Cell("-", "", "several answers each")
