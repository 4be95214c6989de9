"""The report's colours: one place for the page, the plots in it and the plots beside it.

A plot names its colours as CSS variables, so one drawing is right on light and dark pages. Data colours follow Okabe
and Ito (https://jfly.uni-koeln.de/color/), which stay apart for colour-blind eyes; no meaning hangs on colour alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# name -> (on light, on dark)
PALETTE = {
    "page": ("#fafaf8", "#131619"),
    "card": ("#ffffff", "#1b1f23"),
    "ink": ("#1c2024", "#e6e8ea"),
    "faint": ("#59626c", "#9da7b1"),
    "rule": ("#dfe2e5", "#343b42"),
    "link": ("#0a5fa8", "#7cc0ff"),
    "notice": ("#fff6dd", "#32290f"),
    "notice-edge": ("#a86a12", "#d9a441"),
    "base": ("#68717d", "#a4aeb8"),
    "metacognitive": ("#8452b0", "#c39af0"),
    "sft": ("#0072b2", "#5ab4ee"),
    "grpo": ("#c8510a", "#f59a55"),
    "other-1": ("#00805e", "#4cc9a0"),
    "other-2": ("#a83a73", "#ee8fc0"),
    "other-3": ("#7a6a00", "#d9c94a"),
    "correct": ("#00875f", "#3fbf94"),
    "found-and-lost": ("#d98200", "#f0a83a"),
    "found-and-lost-ink": ("#8f5600", "#f0a83a"),
    "never-found": ("#8a939d", "#77818b"),
    "on-bar": ("#ffffff", "#101316"),
    "gold": ("#ffe49a", "#5f4c0e"),
    "gold-first": ("#ffc53d", "#d9a01f"),
    "on-gold-first": ("#1d1400", "#1d1400"),
    "understand_filter": ("#0072b2", "#5ab4ee"),
    "plan": ("#8452b0", "#c39af0"),
    "execute_monitor": ("#00805e", "#4cc9a0"),
    "self_correct": ("#c8510a", "#f59a55"),
    "verify": ("#8a6d00", "#dcbf45"),
}
VARIANTS = ("base", "metacognitive", "sft", "grpo")
OTHERS = ("other-1", "other-2", "other-3")


def variable(name: str) -> str:
    """Name a colour as a plot and the page's CSS do.

    >>> variable("found and lost")
    'var(--found-and-lost)'
    """
    slug = name.replace(" ", "-")
    assert slug in PALETTE, f"no colour {slug!r}"
    return f"var(--{slug})"


def variant_colours(variants: Sequence[str]) -> dict[str, str]:
    """Give each variant its accent: the four of the recipe always theirs, others in the order they come.

    >>> variant_colours(["sft", "mine"])
    {'sft': 'var(--sft)', 'mine': 'var(--other-1)'}
    """
    others = [variant for variant in variants if variant not in VARIANTS]
    names = {variant: OTHERS[position % len(OTHERS)] for position, variant in enumerate(others)}
    return {variant: variable(names.get(variant, variant)) for variant in variants}


def page_css() -> str:
    """Give the page's variables, each right for light and dark by the page's `color-scheme`."""
    variables = "".join(f"--{name}:light-dark({light},{dark});" for name, (light, dark) in PALETTE.items())
    return f":root{{{variables}}}"


def image_css() -> str:
    """Give the variables for an image of its own, which follows the reader's system."""
    light, dark = ("".join(f"--{name}:{pair[mode]};" for name, pair in PALETTE.items()) for mode in (0, 1))
    return f"svg{{{light}font-family:sans-serif}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}"


def on_light(text: str) -> str:
    """Replace the variables by the light colours, for formats without CSS."""
    return re.sub(r"var\(--([\w-]+)\)", lambda found: PALETTE[found[1]][0], text)
