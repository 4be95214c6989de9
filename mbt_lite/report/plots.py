"""The plots of how answers ended: accuracy against length, failures by dataset, lengths by outcome."""

from __future__ import annotations

import re
import statistics
from typing import Any

from mbt_lite.report.charts import Plot, Row, bounded, by_run, by_variant, chart_of, named, to_spec
from mbt_lite.report.contents import OUTCOMES, Report, Series, outcome
from mbt_lite.report.palette import variable
from mbt_lite.report.table import shown

ENDINGS = ("stopped with an answer", "degenerate")


def accuracy_against_tokens(report: Report) -> Plot:
    """Draw exact match (percent) against mean completion tokens with both 95 % intervals, one mark a series."""
    import altair as alt

    rows = [
        named(series)
        | bounded("exact", series.metrics["metrics"]["exact_match"], 100)
        | bounded("tokens", series.metrics["metrics"]["completion_tokens"], 1)
        for series in report.series
    ]
    text = [
        alt.Tooltip("series:N"), alt.Tooltip("exact_text:N", title="exact match"),
        alt.Tooltip("tokens_text:N", title="tokens"), alt.Tooltip("exact_n:Q", title="questions"),
    ]  # fmt: skip
    chosen = alt.selection_point(fields=["variant"], bind="legend")
    faded = alt.condition(chosen, alt.value(1), alt.value(0.15))
    base = chart_of(rows).encode(color=by_variant(report), opacity=faded, tooltip=text)
    x, y = alt.X("tokens:Q", title="mean completion tokens"), alt.Y("exact:Q", title="exact match, %")
    chart = alt.layer(
        base.mark_rule(aria=False).encode(x=x, y=alt.Y("exact_low:Q"), y2="exact_high:Q"),
        base.mark_rule(aria=False).encode(x=alt.X("tokens_low:Q"), x2="tokens_high:Q", y=y),
        base.mark_point().encode(x=x, y=y, **by_run(report)).add_params(chosen),
        height=200,
    )
    return Plot(
        key="accuracy",
        title="Accuracy against length",
        reading="Up is more right answers, left is shorter. Lines are 95 % intervals over questions.",
        spec=to_spec(chart, "Exact match against mean completion tokens, one mark per variant"),
        numbers=[
            {"": row["series"], "n": row["exact_n"], "exact match": row["exact_text"], "tokens": row["tokens_text"]}
            for row in rows
        ],
    )


def failures(report: Report) -> list[Plot]:
    """Draw one stacked bar a series for each dataset: correct, found and lost, never found, and what degenerated."""
    datasets = sorted({question.source for run in report.runs for question in run.questions.values()})
    return [_failures(report, dataset, alone=len(datasets) == 1) for dataset in datasets]


def _failures(report: Report, dataset: str, *, alone: bool) -> Plot:
    import altair as alt

    rows = [row for series in report.series for row in _stack(series, dataset)]
    base = chart_of(rows).encode(y=alt.Y("name:N", sort=None, title=None))
    bars = base.mark_bar(cursor="pointer").encode(
        x=alt.X("start:Q", title="% of completions", scale=alt.Scale(domain=[0, 100]), axis=alt.Axis(grid=False)),
        x2="end:Q",
        color=_by_outcome(),
        opacity=alt.Opacity("ending:N", sort=ENDINGS, scale=alt.Scale(domain=ENDINGS, range=[1, 0.45])),
        tooltip=["series:N", "outcome:N", "ending:N", "text:N"],
    )
    # a narrow piece has no room for its number; the table has it
    numbers = base.transform_filter("datum.end - datum.start >= 7").mark_text(cursor="pointer", aria=False).encode(
        x="middle:Q",
        text=alt.Text("share:Q", format=".0f"),
        color=alt.condition("datum.ending == 'degenerate'", alt.value(variable("ink")), alt.value(variable("on-bar"))),
    )  # fmt: skip
    return Plot(
        key="failures" if alone else "failures-" + re.sub(r"\W+", "-", dataset),
        title=f"How answers fail: {dataset}",
        reading="Found and lost: wrong, though a gold answer stands in the trace. Never found: wrong, and none does. "
        "Paler: degenerate, that is cut off or without a closed answer.",
        spec=to_spec(
            alt.layer(bars, numbers, height=32 * len({row["name"] for row in rows})),
            f"Correct, found and lost, and never found on {dataset}, in percent of each variant's completions",
        ),
        margin=150,
        numbers=[
            {"": row["series"], "outcome": row["outcome"], "ending": row["ending"], "completions": row["text"]}
            for row in rows
        ],
    )


def _stack(series: Series, dataset: str) -> list[Row]:
    """Give the pieces of one bar, from left to right."""
    found = [row for row in series.predictions if series.run.questions[row.question_id].source == dataset]
    pieces, start = [], 0.0
    for name in OUTCOMES:
        for ending in ENDINGS:
            n = sum(outcome(row) == name and bool(row.degenerate) == (ending == ENDINGS[1]) for row in found)
            share = 100 * n / len(found) if n else 0.0
            place = {"start": start, "end": start + share, "middle": start + share / 2, "share": share}
            start += share
            if n:
                text = f"{n} of {len(found)} ({share:.1f}%)"
                label = f"{series.label} (n={len(found)})"
                pieces.append(named(series) | place | {"name": label, "outcome": name, "ending": ending, "text": text})
    return pieces


def lengths(report: Report) -> Plot:
    """Draw how long completions are: one small histogram a series, by outcome."""
    import altair as alt

    rows = [
        named(series) | {"tokens": row.completion_tokens, "outcome": outcome(row)}
        for series in report.series
        for row in series.predictions
    ]
    labels = [series.label for series in report.series]
    chart = chart_of(rows).mark_bar(binSpacing=1, cursor="pointer").encode(
        x=alt.X("tokens:Q", bin=alt.Bin(maxbins=40), title="completion tokens", axis=alt.Axis(tickCount=6)),
        y=alt.Y("count():Q", title=None, axis=alt.Axis(tickCount=2, minExtent=32, maxExtent=32)),
        color=_by_outcome(),
        tooltip=[alt.Tooltip("tokens:Q", bin=alt.Bin(maxbins=40)), "outcome:N", "count():Q"],
    ).properties(height=64).facet(
        facet=alt.Facet("series:N", sort=labels, header=alt.Header(labelAnchor="start")), columns=1, spacing=8
    )  # fmt: skip
    return Plot(
        key="lengths",
        title="How long completions are",
        reading="Number of completions by length. A peak at the right edge is completions cut off by the token limit.",
        spec=to_spec(chart, "Histograms of completion tokens, one per variant, coloured by outcome"),
        numbers=[_quantiles(series) for series in report.series],
        columns=1,
        margin=44,
    )


def _quantiles(series: Series) -> Row:
    tokens = sorted(row.completion_tokens for row in series.predictions)
    found = statistics.quantiles(tokens, n=20, method="inclusive") if len(tokens) > 1 else tokens * 19
    names = {"5 %": 0, "25 %": 4, "median": 9, "75 %": 14, "95 %": 18}
    return {"": series.label, "completions": len(tokens)} | {
        name: shown("tokens", found[place]) if found else "-" for name, place in names.items()
    }


def _by_outcome() -> Any:
    import altair as alt

    return alt.Color("outcome:N", scale=alt.Scale(domain=list(OUTCOMES), range=[variable(name) for name in OUTCOMES]))
