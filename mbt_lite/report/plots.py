"""The report's plots, as inline SVG by matplotlib.

Every colour is a stand-in that becomes a CSS variable afterwards, so that one drawing is right on light and dark pages;
letters stay text. Nothing here touches pyplot's global state.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mbt_lite.records import Prediction
from mbt_lite.report.contents import OUTCOMES, Curve, outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# stand-in -> CSS variable of report.css; the stand-ins are no colours anyone would pick
COLOURS = {
    "ink": "#010203",
    "rule": "#010204",
    "base": "#010205",
    "metacognitive": "#010206",
    "sft": "#010207",
    "grpo": "#010208",
    "correct": "#010209",
    "found-and-lost": "#01020a",
    "never-found": "#01020b",
    "on-bar": "#01020c",
    "line-1": "#01020d",
    "line-2": "#01020e",
    "line-3": "#01020f",
    "line-4": "#010210",
}

SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mbt-lite",
    "font.size": 9,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.edgecolor": COLOURS["rule"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOURS["rule"],
    "grid.linewidth": 0.5,
    "xtick.color": COLOURS["rule"],
    "ytick.color": COLOURS["rule"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"],
    "legend.frameon": False,
}

MARKERS = {"base": "o", "metacognitive": "s", "sft": "^", "grpo": "D"}


def accuracy_against_tokens(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw exact match (percent) against mean completion tokens, with both 95 % intervals, one mark a variant."""
    with _settings():
        figure, axes = _axes()
        for variant, value in metrics.items():
            accuracy, tokens = value["metrics"]["exact_match"], value["metrics"]["completion_tokens"]
            if accuracy["mean"] is None or tokens["mean"] is None:
                continue
            axes.errorbar(
                tokens["mean"], 100 * accuracy["mean"],
                xerr=_spread(tokens, 1), yerr=_spread(accuracy, 100),
                fmt=MARKERS[variant], color=COLOURS[variant], markersize=6, linewidth=1.4, capsize=2.5,
                label=f"{variant} (n={accuracy['n']})",
            )  # fmt: skip
        axes.set_xlabel("mean completion tokens")
        axes.set_ylabel("exact match, %")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=-2)
        _legend_above(axes)
        return _svg(figure, "Exact match against mean completion tokens, one mark per variant")


def failures(predictions: Mapping[str, Sequence[Prediction]]) -> str:
    """Draw one stacked bar a variant: correct, found and lost, never found, in percent of its predictions."""
    with _settings():
        figure, axes = _axes()
        names = [f"{variant}\nn={len(rows)}" for variant, rows in predictions.items()]
        left = [0.0] * len(names)
        for name in OUTCOMES:
            shares = [
                100 * sum(outcome(row) == name for row in rows) / len(rows) if rows else 0.0
                for rows in predictions.values()
            ]
            bars = axes.barh(names, shares, left=left, color=COLOURS[name.replace(" ", "-")], label=name, height=0.62)
            # a narrow piece has no room for its number; the table has it
            axes.bar_label(
                bars, [f"{share:.0f}" if share >= 7 else "" for share in shares], label_type="center",
                color=COLOURS["on-bar"],
            )  # fmt: skip
            left = [start + share for start, share in zip(left, shares, strict=True)]
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("% of predictions")
        _legend_above(axes)
        return _svg(figure, "Correct, found and lost, and never found, in percent of each variant's predictions")


def training_curve(curves: Sequence[Curve], ylabel: str) -> str:
    """Draw curves of one training run over its steps: the first one bold, the others (its terms) thin."""
    from matplotlib.ticker import MaxNLocator

    with _settings():
        figure, axes = _axes()
        main, *terms = curves
        steps, values = _finite(main)
        marker = "o" if len(steps) <= 40 else ""
        axes.plot(
            steps, values, color=COLOURS[main.stage], linewidth=2, marker=marker, markersize=3, zorder=3, label=main.key
        )
        for position, term in enumerate(terms):
            colour, dashes = COLOURS[f"line-{position % 4 + 1}"], ("-", "--", ":")[position // 4 % 3]
            label = term.key.removeprefix(f"{main.key}/")
            axes.plot(*_finite(term), linestyle=dashes, color=colour, linewidth=1, label=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(f"optimizer step (n={len(steps)} logged)")
        axes.set_ylabel(ylabel)
        if terms:
            _legend_above(axes)
        return _svg(figure, f"{ylabel} over the steps of {main.stage}")


def _finite(curve: Curve) -> tuple[list[float], list[float]]:
    """Give steps and values; a value that is no finite number leaves a gap."""
    return [step for step, _ in curve.points], [
        value if math.isfinite(value) else math.nan for _, value in curve.points
    ]


def _spread(estimate: Mapping[str, Any], scale: float) -> list[list[float]] | None:
    """Give matplotlib's distances below and above the mean; None without an interval."""
    if estimate["low"] is None:
        return None
    # a percentile interval of a skewed sample can just miss its mean
    below, above = estimate["mean"] - estimate["low"], estimate["high"] - estimate["mean"]
    return [[scale * max(below, 0.0)], [scale * max(above, 0.0)]]


def _settings() -> Any:
    import matplotlib

    return matplotlib.rc_context(SETTINGS)


def _axes() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 3.1), layout="constrained")
    return figure, figure.subplots()


def _legend_above(axes: Axes) -> None:
    """Put the legend above the plot, where no point can be under it."""
    _, labels = axes.get_legend_handles_labels()
    columns = 2 if len(labels) in (2, 4) else 3
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, columnspacing=1.2)


def _svg(figure: Figure, title: str) -> str:
    """Write a figure as an `<svg>` element that takes its colours from CSS and its width from where it stands."""
    file = io.StringIO()
    nothing = dict.fromkeys(["Date", "Creator", "Format", "Type"])
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box, svg[:200]
    label = html.escape(title, quote=True)
    head = f'<svg {view_box[0]} role="img" aria-label="{label}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return head + svg[svg.index(">") + 1 :]


def standalone(svg: str, css: str) -> str:
    """Make a drawing a file of its own: with the page's colours for light and dark, on no background."""
    light, dark = (re.sub(r"\s+", " ", body) for body in re.findall(r":root \{([^}]*)\}", css))
    style = f"svg {{{light}font-family: sans-serif; }} @media (prefers-color-scheme: dark) {{ svg {{{dark}}} }}"
    head, _, body = svg.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{style}</style>{body}\n'
