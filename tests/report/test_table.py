import io
from collections.abc import Callable
from typing import Any

import pytest
from made_up_run import estimate
from rich.console import Console

from mbt_lite.errors import DataError
from mbt_lite.report import measures, table
from mbt_lite.report.contents import Report, Run

GOLDEN = """\
                 base                metacognitive       sft
                 n=64                n=64                n=64
exact match      20.0% [10.0, 30.0]  25.0% [15.0, 35.0]  50.0% [40.0, 60.0]
F1               20.0% [10.0, 30.0]  25.0% [15.0, 35.0]  50.0% [40.0, 60.0]
substring match  20.0% [10.0, 30.0]  25.0% [15.0, 35.0]  50.0% [40.0, 60.0]
answered         95.0% [85.0, 100]   95.0% [85.0, 100]   95.0% [85.0, 100]
stopped          100% [90.0, 100]    100% [90.0, 100]    100% [90.0, 100]
degenerate       5.0% [0, 15.0]      5.0% [0, 15.0]      5.0% [0, 15.0]
tokens           210 [170, 270]      230 [190, 290]      104 [64, 164]
found and lost   25.0% [15.0, 35.0]  25.0% [15.0, 35.0]  25.0% [15.0, 35.0]
never found      55.0% [45.0, 65.0]  50.0% [40.0, 60.0]  25.0% [15.0, 35.0]
AES              -                   undefined           +2.31 [1.42, 3.50]

[low, high]: 95 % interval over questions if known (Wilson for shares, else bootstrap); n: questions
AES of metacognitive: base accuracy is 0
phases of base, metacognitive, sft: read by a classifier fitted on the run's 120 labelled traces,
held-out accuracy 98.3% (0.5% left unread, n=600 paragraphs)
exact match: the answer is a gold, but for case, punctuation and articles
"""


def printed(metrics: dict[str, Any], width: int = 100, *, whole: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table.ComparisonTable(metrics, whole))
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


def test_comparison_table_prints_this_when_piped(make_report: Callable[..., Report]) -> None:
    assert printed(make_report().metrics).startswith(GOLDEN.rstrip())


def test_comparison_table_shows_the_rest_when_asked_and_says_that_there_is_one(
    make_report: Callable[..., Report],
) -> None:
    metrics = make_report().metrics
    short, whole = printed(metrics), printed(metrics, whole=True)
    assert short.endswith("1 more of traces and judge: `mbt-lite report RUN --all`, or the page")
    assert "phases shown" not in short
    assert "phases shown     30.0% [20.0, 40.0]  30.0% [20.0, 40.0]" in whole
    assert "more of" not in whole


def test_comparison_table_puts_fewer_series_side_by_side_where_it_is_narrow(make_report: Callable[..., Report]) -> None:
    lines = printed(make_report().metrics, width=60).splitlines()
    assert lines[0].split() == ["base", "metacognitive"]
    assert next(line.split() for line in lines if "sft" in line) == ["sft"]
    assert not any(len(line) > 60 for line in lines)


def test_comparison_table_of_four_variants_fits_100_columns(make_report: Callable[..., Report]) -> None:
    metrics = make_report().metrics
    lines = printed(metrics | {"grpo": metrics["sft"]}).splitlines()
    assert lines[2].count("[") == 4
    assert lines[3].startswith("F1 ")


def test_comparison_table_explains_every_measure(make_report: Callable[..., Report]) -> None:
    text = printed(make_report().metrics)
    assert all(f"{measure.label}: {measure.meaning}" in text for measure in measures.MEASURES)


def test_comparison_table_names_an_n_that_is_not_the_columns(make_report: Callable[..., Report]) -> None:
    metrics = make_report().metrics
    metrics["base"]["metrics"]["f1"]["n"] = 60
    assert "20.0% [10.0, 30.0] n=60" in printed({"base": metrics["base"]})


def test_comparison_table_shows_a_metric_without_scores_as_such(make_report: Callable[..., Report]) -> None:
    metrics = make_report().metrics
    metrics["base"]["metrics"]["f1"] = {"mean": None, "low": None, "high": None, "n": 0}
    assert "F1               - n=0" in printed({"base": metrics["base"]})


def test_comparison_table_says_why_an_aes_has_no_interval(make_report: Callable[..., Report]) -> None:
    metrics = make_report().metrics
    metrics["sft"]["aes"] |= {"low": None, "high": None, "undefined_reason": "no interval: too few right"}
    text = printed(metrics)
    assert "+2.31\n" in text
    assert "AES of sft: no interval: too few right" in text


def test_comparison_table_counts_what_was_left_out(make_report: Callable[..., Report]) -> None:
    metrics = make_report().metrics
    metrics["base"]["left_out"] = [{"question_id": "q", "reason": "too long"}]
    assert "left out of base: 1 question, too long" in printed(metrics)
    for value in metrics.values():
        value["left_out"] = [{"question_id": name, "reason": "too long"} for name in ("q", "r")]
    assert "left out of all variants: 2 questions, too long" in printed(metrics)


def test_rows_refuses_metrics_of_another_version(make_report: Callable[..., Report]) -> None:
    metrics = make_report().metrics
    del metrics["sft"]["metrics"]["f1"]
    with pytest.raises(DataError, match="metrics of sft: no metric 'f1'"):
        table.rows(metrics)


def test_comparison_table_puts_many_series_into_several_tables(make_run: Callable[..., Run]) -> None:
    runs = tuple(make_run(4, name=name) for name in ("one", "other"))
    lines = printed(Report(runs).metrics).splitlines()
    assert lines[:3] == [
        "                 one                 one                 one                 other",
        "                 base                metacognitive       sft                 base",
        "                 n=4                 n=4                 n=4                 n=4",
    ]
    assert sum(line.startswith("exact match ") for line in lines) == 2
    assert sum(line.startswith("exact match: ") for line in lines) == 1


def test_rows_show_what_one_series_has_measured(make_report: Callable[..., Report]) -> None:
    metrics = make_report().metrics
    metrics["sft"]["at_k"] = {"pass@2": estimate(0.5, 0.25, 0.75)}
    metrics["sft"]["metrics"]["repeated_4grams"] = estimate(0.125, 0.1, 0.2)
    metrics["sft"]["spans"] = {"spans": estimate(1.5, 1, 2)}
    metrics["base"]["spans"] = None
    found = {
        row.measure.label: [cell.value for cell in row.cells] for row in table.rows(metrics)[len(measures.MEASURES) :]
    }
    assert found == {
        "pass@2": ["-", "-", "50.0%"], "phases shown": ["30.0%"] * 3, "said again": ["-", "-", "12.5%"],
        "steps": ["-", "-", "1.50"],
    }  # fmt: skip


def test_phases_shown_are_the_judges_where_one_was_asked_and_say_so(make_report: Callable[..., Report]) -> None:
    metrics = make_report().metrics
    judged = {"metrics": {"phase_coverage": estimate(0.75, 0.5, 1.0)}, "verdicts": {"quality": {}}, "judge": "j"}
    base, sft = ({**metrics[label], "judged": {"scripted": False, **judged}} for label in ("base", "sft"))
    base["judged"]["verdicts"] = {"hit": {}}
    shown = next(row for row in table.rows({"base": base, "sft": sft}) if row.measure.key == "phase_coverage")
    assert [cell.value for cell in shown.cells] == ["30.0%", "75.0%"]
    said = table.phase_lines({"base": base, "sft": sft})
    assert said[0].startswith("phases of base: read by a classifier fitted on the run's 120 labelled traces")
    assert said[1] == "phases of sft: named by the judge j"
    assert table.phase_lines({"sft": sft}, judged=False)[0].startswith("phases of sft: read by a classifier")


def test_phases_that_nothing_reads_are_undefined_with_the_reason(make_report: Callable[..., Report]) -> None:
    metrics = make_report().metrics["sft"]
    reason = "traces of 9 questions label plan, and 16 are needed"
    unread = {**metrics, "phases": {**metrics["phases"], "accuracy": None, "unread": None, "undefined_reason": reason}}
    unread["metrics"] = metrics["metrics"] | {"phase_coverage": estimate(None, None, None, 0)}
    assert [row.cells[0].value for row in table.rows({"sft": unread})][-1] == "-"
    assert table.phase_lines({"sft": unread}) == [f"phases of sft: undefined, {reason}"]


def test_phases_counted_by_an_older_version_are_not_shown(make_report: Callable[..., Report]) -> None:
    old = {key: value for key, value in make_report().metrics["sft"].items() if key != "phases"}
    assert "phase_coverage" not in {row.measure.key for row in table.rows({"sft": old})}
    assert table.phase_lines({"sft": old}) == []


def test_comparison_table_says_who_judged_and_what_is_unscored(make_report: Callable[..., Report]) -> None:
    metrics = make_report().metrics
    verdicts = {"accuracy": {"scored": 60, "by_rule": 1, "unscored": {"empty": 2, "not a number": 1}}}
    judged = {"judge": "scripted", "scripted": True, "metrics": {"metacognition": estimate(3.5, 3, 4, 60)}}
    metrics["sft"]["judged"] = judged | {"verdicts": verdicts}
    metrics["base"]["judged"] = None
    text = printed(metrics, width=140, whole=True)
    assert "metacognition    -                   -                   3.50 [3.00, 4.00] n=60" in text
    assert "sft judged by scripted, a scripted judge: rules, no language model; 60 verdicts, 3 replies left" in text


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("share", 0.0, "0%"),
        ("share", 1.0, "100%"),
        ("share", 0.9996, "100.0%"),
        ("share", 0.0004, "0.0%"),
        ("tokens", 12345.6, "12,346"),
        ("score", -0.5, "-0.50"),
    ],
    ids=["none", "all", "nearly all", "hardly any", "tokens", "score"],
)
def test_shown_writes(kind: measures.Kind, value: float, text: str) -> None:
    assert table.shown(kind, value, unit=True) == text
