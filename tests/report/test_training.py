import dataclasses
import math
from collections.abc import Callable

from mbt_lite.report.contents import Curve, Report, Run
from mbt_lite.report.training import training_plots

REWARDS = (
    Curve("grpo", "reward", ((1.0, 0.2), (2.0, 0.4))),
    Curve("grpo", "reward/keep", ((1.0, -0.5), (2.0, 0.0))),
    Curve("grpo", "reward/answer", ((1.0, 0.7),)),
)


def with_rewards(run: Run) -> Run:
    return dataclasses.replace(run, curves=(run.curves[0], *REWARDS))


def test_training_plots_say_which_curve_is_missing(make_report: Callable[..., Report]) -> None:
    loss, reward, terms = training_plots(make_report(2))
    assert loss.spec is not None
    assert (reward.spec, reward.missing) == (None, "No run has values in grpo/metrics.jsonl.")
    assert (terms.spec, terms.missing) == (None, "No run has reward terms in grpo/metrics.jsonl.")


def test_training_plots_draw_a_small_chart_a_term(make_run: Callable[..., Run]) -> None:
    _, reward, terms = training_plots(Report((with_rewards(make_run(2)),)))
    assert reward.numbers == [
        {
            "run": reward.numbers[0]["run"],
            "curve": "reward",
            "logged": 2,
            "first": "0.2 (step 1)",
            "last": "0.4 (step 2)",
        }
    ]
    assert terms.spec is not None
    assert terms.spec["facet"]["sort"] == ["keep", "answer"]
    assert [row["curve"] for row in terms.numbers] == ["reward/keep", "reward/answer"]


def test_training_plots_colour_runs_where_there_are_several(make_run: Callable[..., Run]) -> None:
    one, other = with_rewards(make_run(2, name="one")), with_rewards(make_run(2, name="other"))
    _, reward, _ = training_plots(Report((one, other)))
    assert reward.spec is not None
    assert reward.spec["encoding"]["color"]["scale"]["domain"] == ["one", "other"]
    _, alone, _ = training_plots(Report((one,)))
    assert alone.spec is not None
    assert alone.spec["encoding"]["color"] == {"value": "var(--grpo)"}


def test_training_plots_leave_a_gap_where_a_value_is_not_finite(make_run: Callable[..., Run]) -> None:
    curve = Curve("sft", "loss", ((0.0, 1.0), (1.0, math.inf), (2.0, math.nan), (3.0, 0.5)))
    loss, *_ = training_plots(Report((dataclasses.replace(make_run(2), curves=(curve, *REWARDS)),)))
    assert loss.spec is not None
    (rows,) = loss.spec["datasets"].values()
    assert [row["value"] for row in rows] == [1.0, None, None, 0.5]
    assert loss.numbers[0]["logged"] == 4


def test_training_plots_mark_steps_by_whole_numbers(make_run: Callable[..., Run]) -> None:
    _, reward, _ = training_plots(Report((with_rewards(make_run(2)),)))
    assert reward.spec is not None
    assert reward.spec["encoding"]["x"]["axis"]["values"] == [1.0, 2.0]
