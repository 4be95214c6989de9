import dataclasses
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from importlib.resources import files

import pytest

from mbt_lite.report import plots
from mbt_lite.report.contents import Curve, Report


def every_plot(report: Report) -> dict[str, str]:
    return {
        "accuracy": plots.accuracy_against_tokens(report.metrics),
        "failures": plots.failures(report.predictions),
        "curve": plots.training_curve([report.curves[0], Curve("sft", "loss/x", ((0.0, 1.0), (1.0, 2.0)))], "loss"),
    }


@pytest.mark.parametrize("name", ["accuracy", "failures", "curve"])
def test_plot_is_svg_that_takes_colours_and_width_from_the_page(name: str, make_report: Callable[..., Report]) -> None:
    svg = every_plot(make_report())[name]
    root = ElementTree.fromstring(svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1))
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert root.get("width") is None
    assert "var(--ink)" in svg
    assert "#0102" not in svg
    assert 'id="figure' not in svg


def test_accuracy_against_tokens_names_variants_with_their_n(make_report: Callable[..., Report]) -> None:
    svg = plots.accuracy_against_tokens(make_report().metrics)
    assert all(f"{variant} (n=64)" in svg for variant in ("base", "metacognitive", "sft"))


def test_accuracy_against_tokens_leaves_out_a_variant_without_scores(make_report: Callable[..., Report]) -> None:
    metrics = dict(make_report().metrics)
    metrics["sft"]["metrics"]["exact_match"]["mean"] = None
    assert "sft (n=" not in plots.accuracy_against_tokens(metrics)


def test_accuracy_against_tokens_draws_a_point_without_interval(make_report: Callable[..., Report]) -> None:
    metrics = make_report().metrics["base"]
    metrics["metrics"]["exact_match"] |= {"low": None, "high": None}
    assert "base (n=64)" in plots.accuracy_against_tokens({"base": metrics})


def test_failures_labels_the_pieces_in_percent(make_report: Callable[..., Report]) -> None:
    report = make_report()
    rows = [
        dataclasses.replace(row, exact_match=0, answer_hit=int(i < 16))
        for i, row in enumerate(report.predictions["sft"])
    ]
    svg = plots.failures({"sft": rows})
    assert ">25<" in svg  # 16 of 64 found and lost
    assert ">75<" in svg
    assert "found and lost" in svg


def test_failures_draws_an_empty_variant_as_an_empty_bar() -> None:
    assert "n=0" in plots.failures({"sft": []})


def test_training_curve_leaves_a_gap_where_a_value_is_not_finite() -> None:
    curve = Curve("sft", "loss", ((0.0, 1.0), (1.0, math.inf), (2.0, math.nan), (3.0, 0.5)))
    assert "n=4 logged" in plots.training_curve([curve], "loss")


def test_plots_are_the_same_each_time(make_report: Callable[..., Report]) -> None:
    assert every_plot(make_report()) == every_plot(make_report())


def test_standalone_is_a_whole_svg_with_every_colour_it_uses(make_report: Callable[..., Report]) -> None:
    css = files("mbt_lite.report").joinpath("report.css").read_text(encoding="utf-8")
    for svg in every_plot(make_report()).values():
        alone = plots.standalone(svg, css)
        assert ElementTree.fromstring(alone).tag == "{http://www.w3.org/2000/svg}svg"
        light, dark = re.findall(r"svg \{([^}]*)\}", alone)
        used = set(re.findall(r"var\(--([a-z0-9-]+)\)", alone))
        assert used
        assert all(f"--{name}:" in scheme for name in used for scheme in (light, dark))
