import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mbt_lite.report.charts import Plot, bounded, by_run, by_variant, chart_of, to_spec, with_width, write_images
from mbt_lite.report.contents import Report, Run

ESTIMATE = {"mean": 0.4688, "low": 0.25, "high": 0.75, "n": 64, "undefined_reason": None}


def plot_of(rows: list[dict[str, Any]], **settings: Any) -> Plot:
    chart = chart_of(rows).mark_point(color="var(--sft)").encode(x="x:Q", y="y:Q")
    return Plot("points", "Points", "", to_spec(chart, "points of a test"), **settings)


def test_bounded_scales_every_number_and_writes_it() -> None:
    assert bounded("share", ESTIMATE, 100) == {
        "share": 46.88, "share_low": 25.0, "share_high": 75.0, "share_n": 64, "share_text": "46.9% [25.0, 75.0]",
    }  # fmt: skip


def test_bounded_keeps_what_is_undefined() -> None:
    nothing = bounded("tokens", {"mean": None, "low": None, "high": None, "n": 0}, 1)
    assert nothing == {"tokens": None, "tokens_low": None, "tokens_high": None, "tokens_n": 0, "tokens_text": "-"}


def test_bounded_without_an_interval_is_a_line_of_no_length() -> None:
    one = bounded("share", {"mean": 0.5, "low": None, "high": None, "n": 1}, 100)
    assert one == {"share": 50, "share_low": 50, "share_high": 50, "share_n": 1, "share_text": "50.0%"}


def test_with_width_shares_it_among_small_charts() -> None:
    assert with_width(plot_of([]), 500)["width"] == 500
    facets = chart_of([]).mark_point().facet("term:N", columns=2)
    spec = with_width(Plot("terms", "Terms", "", to_spec(facets, "terms"), columns=2, margin=50), 500)
    assert spec["spec"]["width"] == 200
    assert "width" not in spec


def test_by_run_tells_runs_apart_only_where_there_are_several(make_run: Callable[..., Run]) -> None:
    assert by_run(Report((make_run(1),))) == {}
    assert list(by_run(Report((make_run(1, name="one"), make_run(1, name="other"))))) == ["shape"]


def test_by_variant_gives_each_its_accent(make_report: Callable[..., Report]) -> None:
    scale = by_variant(make_report(1)).to_dict()["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True))["sft"] == "var(--sft)"


def test_write_images_writes_svg_for_both_modes_and_an_opaque_png(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "none.svg").write_text("of an earlier report")
    write_images(tmp_path / "plots", [plot_of([{"x": 1, "y": 2}]), Plot("none", "None", "", None, missing="no data")])
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["points.png", "points.svg"]
    svg = (tmp_path / "plots" / "points.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(--sft)" in svg
    assert "prefers-color-scheme:dark" in svg
    png = (tmp_path / "plots" / "points.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    # the colour type of the header: 2 is opaque, 6 has an alpha channel that is full where the card is drawn
    assert png[25] in (2, 6)


def test_write_images_gives_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_images(tmp_path / name, [plot_of([{"x": 1, "y": 2}])])
    for kind in ("svg", "png"):
        assert (tmp_path / "one" / f"points.{kind}").read_bytes() == (
            tmp_path / "other" / f"points.{kind}"
        ).read_bytes()


@pytest.mark.parametrize("hostile", ["</script><b>", "datum.x", "a[0]"])
def test_chart_of_takes_names_as_they_are(hostile: str, tmp_path: Path) -> None:
    chart = chart_of([{"x": 1, "name": hostile}]).mark_bar().encode(x="x:Q", y="name:N")
    write_images(tmp_path, [Plot("names", "Names", "", to_spec(chart, "names"))])
    svg = ElementTree.fromstring((tmp_path / "names.svg").read_text(encoding="utf-8"))
    assert hostile in [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
