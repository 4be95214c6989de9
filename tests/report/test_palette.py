import re
from importlib.resources import files

import pytest

from mbt_lite.report import palette
from mbt_lite.report.contents import OUTCOMES
from mbt_lite.text.phases import PHASES


def luminance(colour: str) -> float:
    """Give the relative luminance of WCAG 2.2."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


TEXT_ON = [
    *((ink, ground) for ink in ("ink", "faint", "link") for ground in ("page", "card")),
    ("ink", "notice"), ("ink", "gold"), ("on-gold-first", "gold-first"),
    ("correct", "card"), ("found-and-lost-ink", "card"),
]  # fmt: skip


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), TEXT_ON, ids=lambda name: name)
def test_palette_keeps_text_readable(ink: str, ground: str, mode: int) -> None:
    assert contrast(palette.PALETTE[ink][mode], palette.PALETTE[ground][mode]) >= 4.5


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", [*palette.VARIANTS, *palette.OTHERS, *PHASES, "correct", "never-found"])
def test_palette_keeps_marks_visible(name: str, mode: int) -> None:
    assert contrast(palette.PALETTE[name][mode], palette.PALETTE["card"][mode]) >= 3


def test_variable_knows_every_outcome() -> None:
    assert [palette.variable(name) for name in OUTCOMES] == [
        "var(--correct)", "var(--found-and-lost)", "var(--never-found)",
    ]  # fmt: skip


def test_variant_colours_are_one_per_variant() -> None:
    colours = palette.variant_colours([*palette.VARIANTS, "mine", "yours"])
    assert len(set(colours.values())) == 6


def test_css_of_the_page_names_only_colours_that_are_there() -> None:
    css = files("mbt_lite.report").joinpath("report.css").read_text(encoding="utf-8")
    used = set(re.findall(r"var\(--([\w-]+)\)", css)) - {"phase"}
    assert used <= palette.PALETTE.keys()
    assert all(f"--{name}:light-dark(" in palette.page_css() for name in palette.PALETTE)


def test_image_css_has_both_modes() -> None:
    light, dark = re.findall(r"svg\{([^}]*)\}", palette.image_css())
    assert all(
        f"--{name}:{pair[0]};" in light and f"--{name}:{pair[1]};" in dark for name, pair in palette.PALETTE.items()
    )


def test_on_light_replaces_every_variable() -> None:
    assert palette.on_light('{"fill": "var(--on-bar)"}') == '{"fill": "#ffffff"}'
