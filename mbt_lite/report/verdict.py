"""The report in one sentence: what the last variant gained on the one before it, and whether luck may explain it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mbt_lite.metrics.paired import compare
from mbt_lite.report.comparisons import SAMPLES, SEED, p_text, same_questions
from mbt_lite.report.contents import Report, Run, Series
from mbt_lite.report.table import shown

# the usual level of a test, of one comparison
LUCK = 0.05


def verdicts(report: Report) -> list[str]:
    """Give a sentence for each run, then one for each further run against the first, where they share questions."""
    last = {run.name: _last(report, run) for run in report.runs}
    within = [_within(report, series) for series in last.values()]
    first, *others = report.runs
    return [*within, *(line for run in others for line in _between(last[run.name], first, report))]


def _last(report: Report, run: Run) -> Series:
    return [series for series in report.series if series.run is run][-1]


def _within(report: Report, series: Series) -> str:
    rivals = [one for one in report.series if one.run is series.run and one.variant in series.metrics.get("paired", {})]
    if not rivals:
        return f"{_right(series)}; there is nothing to compare it with."
    return _sentence(series, rivals[-1], series.metrics["paired"][rivals[-1].variant])


def _between(series: Series, first: Run, report: Report) -> Iterator[str]:
    rival = next((one for one in report.series if one.run is first and one.variant == series.variant), None)
    if rival is not None and same_questions(first, series.run):
        yield _sentence(series, rival, compare(series.predictions, rival.predictions, samples=SAMPLES, seed=SEED))


def _sentence(series: Series, rival: Series, paired: Mapping[str, Any]) -> str:
    said = f"{_right(series)}, {rival.label} {_share(rival)}"
    if not paired["n"]:
        return f"{said}; nothing is paired."
    found = paired["metrics"]["exact_match"]
    if found["low"] is None and not found["difference"]:
        return f"{said}: the same questions, so no difference.{_trained_on(series)}"
    bounds = (
        "(one question: no interval)"
        if found["low"] is None
        else f"[{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"
    )
    luck = "may be luck" if found["p"] >= LUCK else "hardly luck"
    return (
        f"{said}: {100 * found['difference']:+.1f} points {bounds}, {p_text(found['p'])}, {luck}.{_trained_on(series)}"
    )


def _right(series: Series) -> str:
    n = series.metrics["n_questions"]
    return f"{series.label} answers {_share(series)} of {n} question{'' if n == 1 else 's'} right"


def _share(series: Series) -> str:
    found = series.metrics["metrics"]["exact_match"]
    if found["mean"] is None:
        return "none"
    value = shown("share", found["mean"], unit=True)
    return (
        value if found["low"] is None else f"{value} [{shown('share', found['low'])}, {shown('share', found['high'])}]"
    )


def _trained_on(series: Series) -> str:
    """A verdict on questions that were trained on is none."""
    said = (series.metrics.get("in_train") or {"said": []})["said"]
    return " Some of the questions were trained on: see the remarks." if said else ""
