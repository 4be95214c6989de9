"""The plots of forecasts: there with forecasts only, every number in a table, what was saved counted from the steps."""

import dataclasses
from collections.abc import Callable

import pytest

pytest.importorskip("altair", reason="needs the report: pip install 'mbt-lite[report]'")

from mbt_lite.report.contents import Curve, Report, Run
from mbt_lite.report.foresight import foresight_plots


def with_forecasts(run: Run, sequential_after: int | None) -> Run:
    solve = tuple((float(step), 100.0 if step <= 2 else 40.0) for step in range(1, 5))
    meta = tuple((float(step), 20.0) for step in range(1, 5))
    card = {"reliability": [{"right_of_8": 4, "n": 3, "rate": 0.25}, {"right_of_8": 8, "n": 9, "rate": 1.0}]}
    return dataclasses.replace(
        run,
        recipe={**run.recipe, "grpo": {"masa": {"sequential_after": sequential_after}}},
        metrics={name: {**metrics, "foresight": card} for name, metrics in run.metrics.items()},
        curves=(*run.curves, Curve("grpo", "masa/solve_tokens", solve), Curve("grpo", "masa/meta_tokens", meta)),
    )


def test_a_run_without_forecasts_has_no_plots(make_run: Callable[..., Run]) -> None:
    assert foresight_plots(Report((make_run(4),))) == []


def test_rates_and_tokens_stand_in_tables(make_run: Callable[..., Run]) -> None:
    rates, tokens = foresight_plots(Report((with_forecasts(make_run(4), 2),)))
    assert rates.numbers[0] == {"": "base", "foretold": "4 of 8", "questions": 3, "right": "25.0%"}
    assert len(rates.numbers) == 6
    [row] = tokens.numbers
    assert {key: value for key, value in row.items() if key} == {
        "steps in one pass": 2, "tokens a step": "120", "steps with forecasts first": 2, "tokens a step then": "60",
        "fewer by": "50.0%",
    }  # fmt: skip
    assert rates.spec is not None
    assert tokens.spec is not None


def test_in_one_pass_nothing_is_saved(make_run: Callable[..., Run]) -> None:
    [row] = foresight_plots(Report((with_forecasts(make_run(4), None),)))[1].numbers
    assert (row["steps with forecasts first"], row["fewer by"]) == (0, "-")
