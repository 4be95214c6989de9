"""The plot of foresight: are foretold rates reliable?"""

from __future__ import annotations

from mbt_lite.report.charts import Plot, Row, by_run, by_variant, chart_of, named, to_spec
from mbt_lite.report.contents import Report
from mbt_lite.report.table import shown


def reliability(report: Report) -> list[Plot]:
    """Draw the share of right answers against the rate foretold, a mark a foretold rate; none without forecasts."""
    import altair as alt

    rows: list[Row] = [
        named(series) | {"foretold": one["right_of_8"] / 8, "right": one["rate"], "n": one["n"]}
        for series in report.series
        if series.metrics.get("foresight")
        for one in series.metrics["foresight"]["reliability"]
    ]
    if not rows:
        return []
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
    plot = Plot(
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
    return [plot]
