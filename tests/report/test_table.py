import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from mbt_lite.errors import DataError
from mbt_lite.report import table
from mbt_lite.report.contents import Report

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

[low, high]: 95 % interval (Wilson for shares, else bootstrap over questions); n: questions
AES of metacognitive: base accuracy is 0
exact match: the answer is a gold, but for case, punctuation and articles
"""


def printed(metrics: dict[str, Any], width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table.to_table(metrics))
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


def test_to_table_prints_this_when_piped(make_report: Callable[..., Report]) -> None:
    assert printed(dict(make_report().metrics)).startswith(GOLDEN.rstrip())


def test_to_table_of_four_variants_fits_100_columns(make_report: Callable[..., Report]) -> None:
    metrics = dict(make_report().metrics)
    lines = printed(metrics | {"grpo": metrics["sft"]}).splitlines()
    assert lines[2].count("[") == 4
    assert lines[3].startswith("F1 ")


def test_to_table_explains_every_measure(make_report: Callable[..., Report]) -> None:
    text = printed(dict(make_report().metrics))
    assert all(f"{measure.label}: {measure.meaning}" in text for measure in table.MEASURES)


def test_to_table_names_an_n_that_is_not_the_columns(make_report: Callable[..., Report]) -> None:
    metrics = dict(make_report().metrics)
    metrics["base"]["metrics"]["f1"]["n"] = 60
    assert "20.0% [10.0, 30.0] n=60" in printed({"base": metrics["base"]})


def test_to_table_shows_a_metric_without_scores_as_such(make_report: Callable[..., Report]) -> None:
    metrics = dict(make_report().metrics)
    metrics["base"]["metrics"]["f1"] = {"mean": None, "low": None, "high": None, "n": 0}
    assert "F1               - n=0" in printed({"base": metrics["base"]})


def test_to_table_says_why_an_aes_has_no_interval(make_report: Callable[..., Report]) -> None:
    metrics = dict(make_report().metrics)
    metrics["sft"]["aes"] |= {"low": None, "high": None, "undefined_reason": "no interval: too few right"}
    text = printed(metrics)
    assert "+2.31\n" in text
    assert "AES of sft: no interval: too few right" in text


def test_to_table_counts_what_was_left_out(make_report: Callable[..., Report]) -> None:
    metrics = dict(make_report().metrics)
    metrics["base"]["left_out"] = [{"question_id": "q", "reason": "too long"}]
    assert "1 question is left out of all variants" in printed(metrics)


def test_rows_refuses_metrics_of_another_version(make_report: Callable[..., Report]) -> None:
    metrics = dict(make_report().metrics)
    del metrics["sft"]["metrics"]["f1"]
    with pytest.raises(DataError, match="variant sft: no metric 'f1'"):
        table.rows(metrics)


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
def test_shown_writes(kind: table.Kind, value: float, text: str) -> None:
    assert table.shown(kind, value, unit=True) == text
