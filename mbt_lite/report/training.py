"""The plots of what training wrote down: the loss of sft, the reward of grpo and its terms, over optimizer steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mbt_lite.report.charts import Plot, Row, chart_of, to_spec
from mbt_lite.report.contents import FORECASTS, Curve, Report, Run
from mbt_lite.report.palette import OTHERS, VARIANTS, variable

Wanted = Callable[[Curve], bool]


_TERMS = (
    "The mean of each term over the step's completions, before its weight; every chart has a scale of its own. Terms: "
    "mbt_lite/rewards/terms.py."
)
_FORECASTS = (
    "What forecasts earned, beside the best constant in hindsight, and the tokens that solutions and forecasts took. "
    "Steps ask other questions of a policy that goes on learning: only two runs of the same steps tell what is saved."
)


def training_plots(report: Report) -> list[Plot]:
    """Give the plots of the training stages, in the order of the page."""
    foretold = any(_curves(report, lambda curve: curve.key.startswith(FORECASTS)))
    return [
        _over_steps(report, "loss", "Training loss, sft", "loss", lambda c: c.stage == "sft"),
        _over_steps(report, "reward", "Reward, grpo", "mean reward", lambda c: c.key == "reward"),
        _small_charts(report, "reward-terms", "Reward by term, grpo", _TERMS, ("reward/",)),
        *([_small_charts(report, "forecasts", "Forecasts, grpo", _FORECASTS, FORECASTS)] if foretold else []),
    ]


def _over_steps(report: Report, key: str, title: str, unit: str, wanted: Wanted) -> Plot:
    """Draw one curve a run over its steps."""
    import altair as alt

    curves = list(_curves(report, wanted))
    if not curves:
        source = next(curve for run in report.runs for curve in run.curves if wanted(curve)).source
        return Plot(key, title, "", None, missing=f"No run has values in {source}.")
    chart = chart_of(_rows(curves)).properties(height=240).mark_line(**_line(curves)).encode(
        x=alt.X("step:Q", title="optimizer step", axis=_steps(curves)),
        y=alt.Y("value:Q", title=unit, scale=alt.Scale(zero=False)),
        color=_by_run(report, curves[0][1].stage),
        tooltip=["run:N", "step:Q", alt.Tooltip("value:Q", format=".4g", title=unit)],
    )  # fmt: skip
    return Plot(
        key=key,
        title=title,
        reading=f"From {curves[0][1].source}, as logged; not smoothed.",
        spec=to_spec(chart, f"{unit} over optimizer steps, one line per run"),
        numbers=[_ends(run, curve) for run, curve in curves],
    )


def _small_charts(report: Report, key: str, title: str, reading: str, prefixes: tuple[str, ...]) -> Plot:
    """Draw each curve in a small chart of its own, with its own scale."""
    import altair as alt

    curves = list(_curves(report, lambda curve: curve.key.startswith(prefixes)))
    if not curves:
        return Plot(key, title, "", None, missing="No run has reward terms in grpo/metrics.jsonl.")
    names = list(dict.fromkeys(_term(curve) for _, curve in curves))
    axis = alt.Axis(tickCount=3, minExtent=46, maxExtent=46)
    chart = chart_of(_rows(curves)).mark_line(**_line(curves)).encode(
        x=alt.X("step:Q", title=None, axis=_steps(curves)),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=axis),
        color=_by_run(report, "grpo"),
        tooltip=["run:N", "term:N", "step:Q", alt.Tooltip("value:Q", format=".4g")],
    ).properties(height=80).facet(
        facet=alt.Facet("term:N", sort=names, header=alt.Header(labelAnchor="start")), columns=2, spacing=14
    ).resolve_scale(y="independent")  # fmt: skip
    return Plot(
        key=key,
        title=title,
        reading=reading,
        spec=to_spec(chart, f"{title} over optimizer steps, one small chart per curve"),
        numbers=[_ends(run, curve) for run, curve in curves],
        columns=2,
        margin=52,
    )


def _curves(report: Report, wanted: Wanted) -> Iterator[tuple[Run, Curve]]:
    for run in report.runs:
        for curve in run.curves:
            if wanted(curve) and curve.points:
                yield run, curve


def _rows(curves: Sequence[tuple[Run, Curve]]) -> list[Row]:
    """Give a row a point; a value that is no finite number leaves a gap."""
    return [
        {
            "run": run.name,
            "term": _term(curve),
            "step": step,
            "value": value if math.isfinite(value) else None,
        }
        for run, curve in curves
        for step, value in curve.points
    ]


def _term(curve: Curve) -> str:
    return curve.key.removeprefix("reward/")


def _steps(curves: Sequence[tuple[Run, Curve]]) -> Any:
    """Give the axis of steps, which are whole numbers however few they are."""
    import altair as alt

    steps = sorted({step for _, curve in curves for step, _ in curve.points})
    return alt.Axis(format="d", values=steps) if len(steps) <= 6 else alt.Axis(format="d")


def _line(curves: Sequence[tuple[Run, Curve]]) -> dict[str, Any]:
    """Mark the points of short curves."""
    return {"strokeWidth": 2, "point": {"size": 26} if len(curves[0][1].points) <= 40 else False, "clip": True}


def _by_run(report: Report, stage: str) -> Any:
    """Give a lone run its stage's accent; several runs need colours of their own."""
    import altair as alt

    names = [run.name for run in report.runs]
    if len(names) == 1:
        return alt.value(variable(stage))
    palette = [variable(name) for name in (*VARIANTS[2:], *OTHERS, *VARIANTS[:2])]
    colours = [palette[position % len(palette)] for position in range(len(names))]
    return alt.Color("run:N", scale=alt.Scale(domain=names, range=colours))


def _ends(run: Run, curve: Curve) -> Row:
    (first, start), (last, end) = curve.points[0], curve.points[-1]
    return {
        "run": run.name,
        "curve": curve.key,
        "logged": len(curve.points),
        "first": f"{start:.4g} (step {first:.0f})",
        "last": f"{end:.4g} (step {last:.0f})",
    }
