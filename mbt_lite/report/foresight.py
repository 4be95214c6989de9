"""The plot of foresight: are foretold rates reliable?"""

from __future__ import annotations

from mbt_lite.report.charts import Plot, Row, named, to_spec
from mbt_lite.report.contents import Report
from mbt_lite.report.reliability import against_diagonal
from mbt_lite.report.table import shown


def reliability(report: Report) -> list[Plot]:
    """Draw the share of right answers against the rate foretold, a mark a foretold rate; none without forecasts."""
    rows: list[Row] = [
        named(series) | {"said": one["right_of_8"] / 8, "right": one["rate"], "n": one["n"]}
        for series in report.series
        if series.metrics.get("foresight")
        for one in series.metrics["foresight"]["reliability"]
    ]
    if not rows:
        return []
    chart = against_diagonal(report, rows, "foretold share right", "questions").properties(height=280)
    plot = Plot(
        key="foresight",
        title="Foretold and true rates",
        reading="On the dashed line what was foretold came true. Larger marks are more questions; the table above has "
        "the best constant beside each figure.",
        spec=to_spec(chart, "Share of right answers against the foretold share, one mark per foretold share"),
        numbers=[
            {"": row["series"], "foretold": f"{row['said'] * 8:.0f} of 8", "questions": row["n"],
             "right": shown("share", row["right"], unit=True)}
            for row in rows
        ],
    )  # fmt: skip
    return [plot]
