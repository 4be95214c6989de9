"""What all plots of the report share: their look, their colours, and the way from a chart to page, SVG and PNG.

Charts are Vega-Lite, built with Altair. Their colours are CSS variables (palette.py), so that one chart is right on
light and dark pages.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbt_lite.files import write_text
from mbt_lite.report.contents import Report, Series
from mbt_lite.report.measures import Kind
from mbt_lite.report.palette import image_css, on_light, variable, variant_colours
from mbt_lite.report.table import shown

if TYPE_CHECKING:
    import altair as alt

Row = dict[str, Any]

CONFIG: Mapping[str, Any] = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": variable("faint"),
        "titleColor": variable("faint"),
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "gridColor": variable("rule"),
        "domainColor": variable("rule"),
        "tickColor": variable("rule"),
        "labelFontSize": 12,
        "titleFontSize": 12,
    },
    "axisQuantitative": {"tickCount": 6},
    "axisY": {"domain": False, "ticks": False, "labelPadding": 6, "labelLimit": 190},
    "header": {"labelColor": variable("ink"), "labelFontSize": 12, "title": None},
    "legend": {
        "orient": "top",
        "title": None,
        "labelColor": variable("ink"),
        "labelFontSize": 12,
        "symbolSize": 90,
        "columns": 4,
        "symbolBaseFillColor": variable("faint"),
        "layout": {"top": {"direction": "vertical", "anchor": "start", "margin": 4}},
        "columnPadding": 14,
        "labelLimit": 220,
    },
    "title": {"anchor": "start", "color": variable("ink"), "fontSize": 14, "offset": 12},
    "point": {"filled": True, "size": 100, "opacity": 0.85},
    "rule": {"strokeWidth": 1.5, "color": variable("faint")},
    "text": {"fontSize": 12, "color": variable("ink")},
}

# pixels; the reader's letters may be wider than those the image was measured with
IMAGE_WIDTH = 520
IMAGE_PADDING = {"left": 32, "right": 16, "top": 12, "bottom": 12}
IMAGE_CONFIG = {**CONFIG, "legend": {**CONFIG["legend"], "columnPadding": 36}}


@dataclasses.dataclass(frozen=True, slots=True)
class Plot:
    """One figure of the page: its words, its chart, the chart's numbers as a table.

    `spec` is Vega-Lite without a width, None where `missing` says why there is none. `columns` small charts stand
    beside each other (0: it is one chart). `margin` is about how many pixels an axis takes on the left.
    """

    key: str
    title: str
    reading: str
    spec: Mapping[str, Any] | None
    numbers: Sequence[Row] = ()
    missing: str = ""
    columns: int = 0
    margin: int = 50


def to_spec(chart: alt.TopLevelMixin, description: str) -> dict[str, Any]:
    """Give the spec of a chart; `description` is what a screen reader says."""
    spec: dict[str, Any] = chart.to_dict()
    return spec | {"config": CONFIG, "description": description}


def chart_of(rows: Sequence[Row]) -> alt.Chart:
    """Begin a chart of rows."""
    import altair as alt

    return alt.Chart(alt.InlineData(values=list(rows)))


def named(series: Series) -> Row:
    """Give the fields by which charts and tables tell series apart."""
    return {"series": series.label, "variant": series.variant, "run": series.run.name}


def bounded(name: str, estimate: Mapping[str, Any], scale: float) -> Row:
    """Give an estimate as fields `name`, `name_low`, `name_high`, `name_n`, `name_text`; None stays None.

    Without an interval both ends are the mean: a line of no length.
    """
    kind: Kind = "share" if scale == 100 else "tokens"
    mean, low, high = estimate["mean"], estimate["low"], estimate["high"]
    text = "-" if mean is None else shown(kind, mean, unit=True)
    bounds = "" if low is None else f" [{shown(kind, low)}, {shown(kind, high)}]"
    ends = {name: mean, f"{name}_low": mean if low is None else low, f"{name}_high": mean if high is None else high}
    scaled = {key: None if end is None else scale * end for key, end in ends.items()}
    return scaled | {f"{name}_n": estimate["n"], f"{name}_text": text + bounds}


def by_variant(report: Report) -> alt.Color:
    """Give each variant its accent."""
    import altair as alt

    colours = variant_colours(list(dict.fromkeys(series.variant for series in report.series)))
    return alt.Color("variant:N", scale=alt.Scale(domain=list(colours), range=list(colours.values())))


def faded_by_run(report: Report) -> dict[str, alt.Opacity]:
    """Give bars of each run their strength, where there are several runs."""
    import altair as alt

    names = [run.name for run in report.runs]
    strengths = [1 - 0.6 * place / len(names) for place in range(len(names))]
    return (
        {"opacity": alt.Opacity("run:N", sort=names, scale=alt.Scale(domain=names, range=strengths))}
        if len(names) > 1
        else {}
    )


def by_run(report: Report) -> dict[str, alt.Shape]:
    """Give each run its shape, where there are several."""
    import altair as alt

    names = [run.name for run in report.runs]
    return {"shape": alt.Shape("run:N", scale=alt.Scale(domain=names))} if len(names) > 1 else {}


def write_images(folder: Path, plots: Sequence[Plot]) -> None:
    """Write each plot that has data as `<key>.svg`, light or dark as its reader's system is, and `<key>.png`.

    Images of an earlier report go: one that is no longer drawn would show old numbers.
    """
    import vl_convert

    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("*.svg"), *folder.glob("*.png")]:
        old.unlink()
    for plot in plots:
        if plot.spec is None:
            continue
        spec = with_width(plot, IMAGE_WIDTH) | {"title": plot.title, "config": IMAGE_CONFIG, "padding": IMAGE_PADDING}
        head, _, body = vl_convert.vegalite_to_svg(json.dumps(spec)).partition(">")
        write_text(folder / f"{plot.key}.svg", f"{head}><style>{image_css()}</style>{body}\n")
        opaque = spec | {"config": {**IMAGE_CONFIG, "background": variable("card")}}
        (folder / f"{plot.key}.png").write_bytes(vl_convert.vegalite_to_png(on_light(json.dumps(opaque)), ppi=144))


def with_width(plot: Plot, width: int) -> dict[str, Any]:
    """Give the spec as wide as an image; charts.js does the same for the page."""
    assert plot.spec is not None, plot.key
    each = width if not plot.columns else width // plot.columns - plot.margin
    inner = plot.spec.get("spec")
    return {**plot.spec, "width": each} if inner is None else {**plot.spec, "spec": {**inner, "width": each}}
