"""The bar plots of shares by group: which phases the traces show, and accuracy by kind of question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mbt_lite.report.charts import Plot, Row, bounded, by_variant, chart_of, faded_by_run, named, to_spec
from mbt_lite.report.contents import Report
from mbt_lite.report.palette import variable
from mbt_lite.report.table import phase_estimates, phase_lines
from mbt_lite.text.phases import PHASES

PHASE_NAMES = dict(zip(PHASES, ("understand", "plan", "execute", "self-correct", "verify"), strict=True))
GROUPINGS = {"hops": "number of hops", "question_type": "question type", "tier": "difficulty tier"}


def phases(report: Report) -> Plot:
    """Draw how many traces show each of the five phases, one bar a series."""
    title, key = "Phases in the traces", "phases"
    lines = "; ".join(phase_lines(report.metrics))
    rows = [
        named(series) | {"group": name} | bounded("share", estimate, 100)
        for series in report.series
        for phase, name in PHASE_NAMES.items()
        if (estimate := phase_estimates(series.metrics)[f"phase/{phase}"])["mean"] is not None
    ]
    if not rows:
        return Plot(key, title, "", None, missing=f"There are no phases to count: {lines}.")
    return Plot(
        key=key,
        title=title,
        reading=f"Share of completions whose trace shows the phase, with 95 % intervals; {lines}.",
        spec=_bars(report, rows, list(PHASE_NAMES.values()), "% of completions", "Completions that show each phase"),
        numbers=_numbers(rows, "phase", "share"),
        margin=90,
    )


def accuracy_by_kind(report: Report) -> list[Plot]:
    """Draw exact match by hops, question type and tier, where the questions differ in it and it says something new."""
    plots: list[Plot] = []
    seen = []
    for grouping, name in GROUPINGS.items():
        plot = _by_kind(report, grouping, name)
        if plot is not None:
            figures = [(row[""], row["n"], row["exact match"]) for row in plot.numbers]
            # hops, type and tier are often three names of one thing
            if figures not in seen:
                plots.append(plot)
            seen.append(figures)
    return plots


def _by_kind(report: Report, grouping: str, name: str) -> Plot | None:
    cards = [(series, _groups(series.metrics, grouping)) for series in report.series]
    groups = list(dict.fromkeys(group for _, card in cards for group in card))
    if len(groups) < 2:
        return None
    rows = [
        named(series) | {"group": group} | bounded("share", card[group]["metrics"]["exact_match"], 100)
        for series, card in cards
        for group in groups
        if group in card
    ]
    return Plot(
        key=f"accuracy-by-{grouping.replace('_', '-')}",
        title=f"Accuracy by {name}",
        reading="Exact match with 95 % intervals. Small groups have wide ones: see n under Numbers.",
        spec=_bars(report, rows, groups, "exact match, %", f"Exact match by {name}, one bar per variant"),
        numbers=_numbers(rows, name, "exact match"),
        margin=90,
    )


def _groups(metrics: Mapping[str, Any], grouping: str) -> Mapping[str, Any]:
    """Give the groups that a metrics.json was broken down to, none where it was not."""
    breakdown: Mapping[str, Any] = metrics.get("breakdown", {})
    found: Mapping[str, Any] = breakdown.get(grouping, {})
    return found


def _bars(report: Report, rows: Sequence[Row], groups: Sequence[str], unit: str, description: str) -> dict[str, Any]:
    """Build one group of bars for each of `groups`, one bar a series, with intervals."""
    import altair as alt

    order = [series.label for series in report.series]
    base = chart_of(rows).encode(
        y=alt.Y("group:N", sort=list(groups), title=None, scale=alt.Scale(paddingInner=0.25)),
        yOffset=alt.YOffset("series:N", sort=order),
        tooltip=[
            alt.Tooltip("group:N", title=" "), "series:N",
            alt.Tooltip("share_text:N", title=unit.rpartition(",")[0] or "share"),
            alt.Tooltip("share_n:Q", title="questions"),
        ],
    )  # fmt: skip
    x = alt.X("share:Q", title=unit, scale=alt.Scale(domain=[0, 100]))
    bars = base.mark_bar().encode(x=x, color=by_variant(report), **faded_by_run(report))
    whiskers = base.mark_rule(aria=False, color=variable("ink"), opacity=0.55).encode(
        x=alt.X("share_low:Q"), x2="share_high:Q"
    )
    height = len(groups) * (12 + 11 * len(order))
    return to_spec(alt.layer(bars, whiskers, height=height), description)


def _numbers(rows: Sequence[Row], group: str, share: str) -> list[Row]:
    return [{group: row["group"], "": row["series"], "n": row["share_n"], share: row["share_text"]} for row in rows]
