"""The plots of foresight: are foretold rates reliable, and what do forecasts that come first save?

Tokens are counted as they were written, those of the forecasts themselves too.
"""

from __future__ import annotations

import statistics

from mbt_lite.report.charts import Plot, Row, by_run, by_variant, chart_of, named, to_spec
from mbt_lite.report.contents import FORECAST_TOKENS, Report, Run
from mbt_lite.report.palette import variable
from mbt_lite.report.table import shown


def foresight_plots(report: Report) -> list[Plot]:
    """Give the plots of the runs that have forecasts."""
    plots = [_reliability(report)] if any(one.metrics.get("foresight") for one in report.series) else []
    return [*plots, *([_tokens(report)] if any(map(_steps, report.runs)) else [])]


def _reliability(report: Report) -> Plot:
    """Draw the share of right answers against the rate foretold, a mark a foretold rate."""
    import altair as alt

    rows: list[Row] = [
        named(series) | {"foretold": one["right_of_8"] / 8, "right": one["rate"], "n": one["n"]}
        for series in report.series
        if series.metrics.get("foresight")
        for one in series.metrics["foresight"]["reliability"]
    ]
    share = alt.Scale(domain=[0, 1])
    marks = chart_of(rows).mark_point().encode(
        x=alt.X("foretold:Q", title="foretold share right", scale=share),
        y=alt.Y("right:Q", title="share right", scale=share),
        size=alt.Size("n:Q", title="questions", legend=None),
        color=by_variant(report),
        tooltip=["series:N", "foretold:Q", alt.Tooltip("right:Q", format=".2f"), "n:Q"],
        **by_run(report),
    )  # fmt: skip
    line = chart_of([{"x": 0, "y": 0}, {"x": 1, "y": 1}]).mark_line(aria=False, strokeDash=[4, 4], opacity=0.5)
    chart = alt.layer(line.encode(x="x:Q", y="y:Q"), marks, height=280)
    return Plot(
        key="foresight",
        title="Foretold and true rates",
        reading="On the dashed line what was foretold came true. Larger marks are more questions; the table above has "
        "the best constant beside each figure.",
        spec=to_spec(chart, "Share of right answers against the foretold share, one mark per foretold share"),
        numbers=[
            {"": row["series"], "foretold": f"{row['foretold'] * 8:.0f} of 8", "questions": row["n"],
             "right": shown("share", row["right"], unit=True)}
            for row in rows
        ],
    )  # fmt: skip


def _steps(run: Run) -> list[Row]:
    """Give what the steps of a run wrote, [] without forecasts: a row a step and kind of text."""
    after = run.recipe.get("grpo", {}).get("masa", {}).get("sequential_after")
    return [
        {"run": run.name, "step": step, "text": FORECAST_TOKENS[curve.key], "tokens": tokens,
         "first": after is not None and step > after}
        for curve in run.curves
        if curve.key in FORECAST_TOKENS
        for step, tokens in curve.points
    ]  # fmt: skip


def _tokens(report: Report) -> Plot:
    """Draw what each step wrote, solutions on forecasts."""
    import altair as alt

    rows = [row for run in report.runs for row in _steps(run)]
    texts = list(FORECAST_TOKENS.values())
    chart = chart_of(rows).mark_bar().encode(
        x=alt.X("step:O", title="optimizer step"),
        y=alt.Y("tokens:Q", title="tokens written"),
        color=alt.Color("text:N", scale=alt.Scale(domain=texts, range=[variable("grpo"), variable("sft")])),
        opacity=alt.Opacity("first:N", scale=alt.Scale(domain=[False, True], range=[0.5, 1]), legend=None),
        tooltip=["run:N", "step:O", "text:N", "tokens:Q"],
    ).properties(height=120).facet(
        facet=alt.Facet("run:N", header=alt.Header(labelAnchor="start")), columns=1, spacing=8
    )  # fmt: skip
    return Plot(
        key="forecast-tokens",
        title="Tokens of solutions and forecasts",
        reading="What each step wrote; paler: in one pass, where forecasts save nothing. Steps ask other questions of "
        "a policy that goes on learning: only two runs of the same steps tell what is saved.",
        spec=to_spec(chart, "Tokens written in each optimizer step, solutions and forecasts, one small chart per run"),
        numbers=[_saved(run) for run in report.runs if _steps(run)],
        columns=1,
        margin=60,
    )


def _saved(run: Run) -> Row:
    """Compare the steps in one pass with those whose forecasts came first."""
    totals: dict[bool, dict[float, float]] = {False: {}, True: {}}
    for row in _steps(run):
        kind = totals[row["first"]]
        kind[row["step"]] = kind.get(row["step"], 0.0) + row["tokens"]
    one_pass, first = (statistics.fmean(kind.values()) if kind else None for kind in totals.values())
    return {
        "": run.name,
        "steps in one pass": len(totals[False]),
        "tokens a step": "-" if one_pass is None else shown("tokens", one_pass),
        "steps with forecasts first": len(totals[True]),
        "tokens a step then": "-" if first is None else shown("tokens", first),
        "fewer by": "-" if first is None or not one_pass else shown("share", 1 - first / one_pass, unit=True),
    }
