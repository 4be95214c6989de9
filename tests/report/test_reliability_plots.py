"""The plots of confidence: bins with their n, the error beside that of perfect confidences, risk against coverage."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from made_up_run import estimate

pytest.importorskip("altair", reason="needs the report's libraries: pip install 'mbt-lite[report]'")

from mbt_lite.report import table
from mbt_lite.report.contents import Report, Run
from mbt_lite.report.html import all_plots
from mbt_lite.report.reliability import confidence_plots

READING: dict[str, Any] = {
    "missing": 2,
    "bins": [
        {"from": 0.2, "n": 4, "confidence": 0.25, "right": 0.5},
        {"from": 0.9, "n": 58, "confidence": 0.95, "right": 0.75},
    ],
    "risk_coverage": [{"coverage": 0.5, "risk": 0.1}, {"coverage": 1.0, "risk": 0.25}],
    "metrics": {
        "ece": estimate(0.203, 0.203, 0.203) | {"n": 62, "low": None, "high": None},
        "ece_if_perfect": estimate(0.05, 0.05, 0.05) | {"n": 62, "low": None, "high": None},
        "auroc": estimate(0.7, 0.6, 0.8) | {"n": 62},
    },
}  # fmt: skip


@pytest.fixture
def run(make_run: Callable[..., Run]) -> Run:
    return make_run()


def with_reading(run: Run, **readings: Any) -> Report:
    changed = {name: {**metrics, "calibration": readings} for name, metrics in run.metrics.items()}
    return Report((dataclasses.replace(run, metrics=changed),))


def test_each_reading_has_a_diagram_and_a_curve_with_their_n(run: Run) -> None:
    report = with_reading(run, stated=READING, agreement=READING)
    plots = confidence_plots(report)
    assert [plot.key for plot in plots] == [
        "reliability-stated", "coverage-stated", "reliability-agreement", "coverage-agreement"
    ]  # fmt: skip
    assert {plot.key for plot in plots} <= {plot.key for plot in all_plots(report)}
    diagram, curve = plots[:2]
    assert "sft 0.203 (perfect confidences: 0.050, n=62)" in diagram.reading
    assert {(row["from"], row["n"], row["confidence"], row["right"]) for row in diagram.numbers} == {
        ("0.2", 4, "0.250", "50.0%"), ("0.9", 58, "0.950", "75.0%")
    }  # fmt: skip
    assert curve.numbers[0] == {"": "base", "answered": "50.0%", "wrong": "10.0%", "n": 62}
    assert "share right" in json.dumps(diagram.spec)


def test_without_readings_there_is_nothing(run: Run) -> None:
    assert confidence_plots(Report((run,))) == []
    nothing = {**READING, "bins": [], "risk_coverage": []}
    assert confidence_plots(with_reading(run, stated=nothing)) == []
    assert not any(row.group == "confidence" for row in table.rows(run.metrics))


def test_the_table_never_shows_an_error_without_what_chance_makes_of_it(run: Run) -> None:
    report = with_reading(run, stated=READING)
    rows = [row for row in table.rows(report.metrics) if row.group == "confidence"]
    assert [row.measure.label for row in rows] == ["stated: ECE", "stated: if perfect", "stated: AUROC"]
    assert [(cell.value, cell.note) for cell in rows[0].cells] == [("0.20", "n=62")] * 3
    said = table.remarks(report.metrics)
    assert "confidence of sft, stated: 2 completions have none and are left out" in said
