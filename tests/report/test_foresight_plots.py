"""The plots of forecasts: there with forecasts only, every number in a table."""

import dataclasses
from collections.abc import Callable

import pytest

pytest.importorskip("altair", reason="needs the report: pip install 'mbt-lite[report]'")

from mbt_lite.report.contents import FORECASTS, Curve, Report, Run
from mbt_lite.report.foresight import reliability
from mbt_lite.report.training import training_plots


def with_forecasts(run: Run) -> Run:
    card = {"reliability": [{"right_of_8": 4, "n": 3, "rate": 0.25}, {"right_of_8": 8, "n": 9, "rate": 1.0}]}
    curves = [Curve("grpo", key, ((1.0, 100.0), (2.0, 40.0))) for key in FORECASTS]
    return dataclasses.replace(
        run,
        metrics={name: {**metrics, "foresight": card} for name, metrics in run.metrics.items()},
        curves=(*run.curves, *curves),
    )


def test_a_run_without_forecasts_has_no_plots(make_run: Callable[..., Run]) -> None:
    report = Report((make_run(4),))
    assert reliability(report) == []
    assert "forecasts" not in {plot.key for plot in training_plots(report)}


def test_rates_stand_in_a_table_with_their_n(make_run: Callable[..., Run]) -> None:
    [plot] = reliability(Report((with_forecasts(make_run(4)),)))
    assert plot.numbers[0] == {"": "base", "foretold": "4 of 8", "questions": 3, "right": "25.0%"}
    assert len(plot.numbers) == 6
    assert plot.spec is not None


def test_steps_show_what_was_written_and_the_best_constant(make_run: Callable[..., Run]) -> None:
    plots = {plot.key: plot for plot in training_plots(Report((with_forecasts(make_run(4)),)))}
    assert [row["curve"] for row in plots["forecasts"].numbers] == list(FORECASTS)
    assert plots["forecasts"].numbers[2]["last"] == "40 (step 2)"
    assert plots["reward-terms"].spec is None
