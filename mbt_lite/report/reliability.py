"""Is a student right as often as it says? Shares right against what was said, and risk against coverage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mbt_lite.report.charts import Plot, Row, by_run, by_variant, chart_of, named, to_spec
from mbt_lite.report.contents import Report
from mbt_lite.report.measures import READINGS
from mbt_lite.report.table import shown


def against_diagonal(report: Report, rows: Sequence[Row], said: str, of: str) -> Any:
    """Draw `right` against `said` of each row, larger marks for a larger `n` (of what `of` names)."""
    import altair as alt

    share = alt.Scale(domain=[0, 1])
    marks = chart_of(rows).mark_point().encode(
        x=alt.X("said:Q", title=said, scale=share),
        y=alt.Y("right:Q", title="share right", scale=share),
        size=alt.Size("n:Q", title=of, legend=None),
        color=by_variant(report),
        tooltip=["series:N", alt.Tooltip("said:Q", format=".2f"), alt.Tooltip("right:Q", format=".2f"), "n:Q"],
        **by_run(report),
    )  # fmt: skip
    line = chart_of([{"x": 0, "y": 0}, {"x": 1, "y": 1}]).mark_line(aria=False, strokeDash=[4, 4], opacity=0.5)
    return alt.layer(line.encode(x="x:Q", y="y:Q"), marks)


def confidence_plots(report: Report) -> list[Plot]:
    """Draw both figures of every reading of confidence; none where none was read."""
    return [
        plot
        for reading, name in READINGS.items()
        if any(_calibrations(report, reading))
        for plot in (_reliability(report, reading, name), *_coverage(report, reading, name))
    ]


def _calibrations(report: Report, reading: str) -> Iterator[tuple[Row, Mapping[str, Any]]]:
    """Give the reading of each series that has completions with one."""
    for series in report.series:
        found = series.metrics.get("calibration", {}).get(reading)
        if found is not None and found["bins"]:
            yield named(series), found


def _reliability(report: Report, reading: str, name: str) -> Plot:
    rows: list[Row] = [
        series | {"said": one["confidence"], "right": one["right"], "n": one["n"], "from": one["from"]}
        for series, found in _calibrations(report, reading)
        for one in found["bins"]
    ]
    what = "steps" if reading == "steps" else "completions"
    chart = against_diagonal(report, rows, f"mean confidence of the bin, {name}", what).properties(height=280)
    errors = "; ".join(
        f"{series['series']} {found['metrics']['ece']['mean']:.3f} (perfect confidences: "
        f"{found['metrics']['ece_if_perfect']['mean']:.3f}, n={found['metrics']['ece']['n']})"
        for series, found in _calibrations(report, reading)
    )
    return Plot(
        key=f"reliability-{reading}",
        title=f"Confidence and share right: {name}",
        reading=f"On the dashed line a student is right as often as it says; larger marks are more {what}. ECE: "
        f"{errors}.",
        spec=to_spec(chart, f"Share right against mean confidence ({name}), one mark per tenth of the scale"),
        numbers=[
            {"": row["series"], "from": f"{row['from']:.1f}", "n": row["n"], "confidence": f"{row['said']:.3f}",
             "right": shown("share", row["right"], unit=True)}
            for row in rows
        ],
    )  # fmt: skip


def _coverage(report: Report, reading: str, name: str) -> Iterator[Plot]:
    """Draw what leaving unsure answers out would do; nothing of steps, which are not left out."""
    import altair as alt

    rows: list[Row] = [
        series | one | {"n": found["metrics"]["ece"]["n"]}
        for series, found in _calibrations(report, reading)
        for one in found["risk_coverage"]
    ]
    if not rows:
        return
    share = alt.Scale(domain=[0, 1])
    chart = chart_of(rows).mark_line().encode(
        x=alt.X("coverage:Q", title=f"share answered, the surest first ({name})", scale=share),
        y=alt.Y("risk:Q", title="share of those wrong", scale=share),
        color=by_variant(report),
        detail="series:N",
        tooltip=["series:N", "coverage:Q", alt.Tooltip("risk:Q", format=".2f"), "n:Q"],
    ).properties(height=280)  # fmt: skip
    yield Plot(
        key=f"coverage-{reading}",
        title=f"Risk and coverage: {name}",
        reading="What is wrong of the surest answers. A confidence that tells nothing is level; one that tells right "
        "from wrong begins low.",
        spec=to_spec(chart, f"Share wrong of the surest answers against the share answered ({name})"),
        numbers=[
            {"": row["series"], "answered": shown("share", row["coverage"], unit=True),
             "wrong": shown("share", row["risk"], unit=True), "n": row["n"]}
            for row in rows
        ],
    )  # fmt: skip
