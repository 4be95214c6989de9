from collections.abc import Callable
from typing import Any

from mbt_lite.report.bars import accuracy_by_kind, phases
from mbt_lite.report.contents import Report, Run


def group(exact: float, n: int) -> dict[str, Any]:
    estimate = {"mean": exact, "low": 0.0, "high": 1.0, "n": n, "undefined_reason": None}
    return {"n_questions": n, "n_predictions": n, "metrics": {"exact_match": estimate}}


def test_phases_shows_a_bar_a_series_and_phase(make_report: Callable[..., Report]) -> None:
    plot = phases(make_report())
    assert len(plot.numbers) == 3 * 5
    assert plot.numbers[0] == {"phase": "understand", "": "base", "n": 64, "share": "10.0% [0, 20.0]"}
    assert plot.spec is not None
    assert plot.spec["layer"][0]["encoding"]["y"]["sort"] == ["understand", "plan", "execute", "self-correct", "verify"]


def test_phases_says_why_there_are_none(make_run: Callable[..., Run]) -> None:
    run = make_run(2)
    for metrics in run.metrics.values():
        reason = "none of the 9 traces labels its phases"
        metrics["phases"].update(accuracy=None, unread=None, n_paragraphs=0, n_traces=0, undefined_reason=reason)
        for key in [key for key in metrics["metrics"] if key.startswith("phase")]:
            metrics["metrics"][key].update(mean=None, low=None, high=None, n=0, undefined_reason=reason)
    plot = phases(Report((run,)))
    assert plot.spec is None
    assert plot.missing == (
        "There are no phases to count: phases of base, metacognitive, sft: undefined, none of the 9 traces labels its "
        "phases."
    )


def test_phases_are_the_judges_where_one_was_asked(make_run: Callable[..., Run]) -> None:
    run = make_run(2)
    judged = {key: {**estimate, "mean": 0.75} for key, estimate in run.metrics["sft"]["metrics"].items()}
    run.metrics["sft"]["judged"] = {  # type: ignore[index]
        "judge": "j", "scripted": False, "metrics": judged, "verdicts": {"quality": {"scored": 2, "unscored": {}}},
    }  # fmt: skip
    plot = phases(Report((run,)))
    assert [row["share"].partition("%")[0] for row in plot.numbers if row[""] == "sft"] == ["75.0"] * 5
    assert "phases of sft: named by the judge j" in plot.reading
    assert "phases of base, metacognitive: read by a classifier" in plot.reading


def test_accuracy_by_kind_is_not_there_without_a_breakdown(make_report: Callable[..., Report]) -> None:
    assert accuracy_by_kind(make_report(2)) == []


def test_accuracy_by_kind_shows_each_grouping_once(make_run: Callable[..., Run]) -> None:
    run = make_run(2)
    for metrics in run.metrics.values():
        metrics["breakdown"] = {  # type: ignore[index]
            "hops": {"2": group(0.5, 40), "3": group(0.25, 24)},
            "question_type": {"bridge": group(0.4, 64)},
            "tier": {"easy": group(0.5, 40), "medium": group(0.25, 24)},
        }
    plots = accuracy_by_kind(Report((run,)))
    # one question type tells nothing, and the tiers say what the hops said
    assert [plot.key for plot in plots] == ["accuracy-by-hops"]
    assert plots[0].numbers[0] == {"number of hops": "2", "": "base", "n": 40, "exact match": "50.0% [0, 100]"}
