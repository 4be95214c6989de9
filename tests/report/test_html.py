import base64
import dataclasses
import datetime
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mbt_lite.errors import RunError
from mbt_lite.report.contents import Report, Run, Teachers
from mbt_lite.report.html import all_plots, render, write_report

NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)
VOID = {"meta", "link", "br", "input", "img"}


class Page(HTMLParser):
    """Tags in order, text by tag, and whether every opened tag is closed where it should be."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def source(make_report: Callable[..., Report]) -> str:
    """The page of one run, whole."""
    report = make_report()
    return render(report, all_plots(report), NOW)


def brief(report: Report) -> str:
    """Give the page without its plots, which take their time."""
    return render(report, [], NOW)


def test_render_gives_a_page_with_every_part(source: str) -> None:
    page = Page(source)
    assert page.texts["h3"] == [
        "Accuracy against length", "How answers fail: mbt", "Two ways to go wrong", "Phases in the traces",
        "How long completions are", "Training loss, sft",
    ]  # fmt: skip
    assert page.count("figure") == 6
    # the measures of answers and of traces, and the numbers of each plot
    assert page.count("table") == 2 + 6
    assert any("2026-11-21 12:00 UTC" in text for text in page.texts["p"])


def test_render_says_where_a_curve_is_missing(source: str) -> None:
    page = Page(source)
    assert "Reward, grpo" in page.texts["strong"]
    assert any("No run has values in grpo/metrics.jsonl." in text for text in page.texts["p"])


def test_render_needs_no_network(source: str) -> None:
    page = Page(source)
    links = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href")]
    assert links
    assert all(link is not None and re.match(r"#|data:", link) for link in links)
    assert not any("http" in text or "url(" in text for text in page.texts["style"])


def test_render_runs_only_the_scripts_it_names_by_hash(source: str) -> None:
    page = Page(source)
    policy = next(attrs["content"] for tag, attrs in page.tags if "Content-Security-Policy" in attrs.values())
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    (scripts,) = re.findall(r"script-src ([^;]*);", policy)
    *packed, running = page.texts["script"]
    digest = base64.b64encode(hashlib.sha256(running.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in scripts.split()
    assert len(scripts.split()) == 2
    assert all(re.fullmatch(r"[\w+/=]+", text) for text in packed)


def test_render_keeps_hostile_text_as_text(make_report: Callable[..., Report]) -> None:
    page = Page(brief(make_report(2, "<think></script><b> Arden </b><!--</think><answer>]]></answer>")))
    assert page.count("b") == 0
    assert page.count("img") == 0
    assert page.count("script") == 4
    assert any("</script><b>bold</b>" in text for text in page.texts["h1"])


def test_render_gives_the_same_page_each_time(make_report: Callable[..., Report]) -> None:
    assert brief(make_report(2)) == brief(make_report(2))


@pytest.mark.parametrize(
    ("teachers", "said"),
    [
        (Teachers(("scripted",), 9, 9), "9 of the 9 training traces of mine were written by the rule-based teacher"),
        (Teachers(("big-model",), 9, 0), "mine has 9 training traces by big-model."),
        (Teachers((), 0, 0), "mine has no training traces"),
    ],
    ids=["scripted", "a model", "none"],
)
def test_render_says_who_wrote_the_traces(teachers: Teachers, said: str, make_run: Callable[..., Run]) -> None:
    run = dataclasses.replace(make_run(3, name="mine"), teachers=teachers)
    assert said in brief(Report((run,)))


@pytest.mark.parametrize("scripted", [True, False])
def test_render_says_where_the_judge_is_scripted(scripted: bool, make_run: Callable[..., Run]) -> None:
    run = make_run(2, name="mine")
    judged = {"judge": "wise-one", "scripted": scripted, "metrics": {}, "verdicts": {}}
    metrics = {variant: card | {"judged": judged} for variant, card in run.metrics.items()}
    page = brief(Report((dataclasses.replace(run, metrics=metrics),)))
    assert ("Scripted judge: the judged numbers of mine come from rules" in page) == scripted


def test_render_of_several_runs_shows_where_their_recipes_differ(make_run: Callable[..., Run]) -> None:
    one, other = make_run(2, name="one"), make_run(2, name="other")
    changed = dataclasses.replace(other, recipe={**other.recipe, "lora": {"rank": 8}})
    page = Page(brief(Report((one, changed))))
    assert "Where the recipes differ" in page.texts["h3"]
    assert page.texts["td"][-2:] == ["-", "8"]
    assert "lora.rank" in page.texts["th"]
    assert page.texts["h1"] == ["one, other"]


def test_write_report_writes_the_page_and_its_plots_beside_it(
    tmp_path: Path, make_report: Callable[..., Report]
) -> None:
    write_report(tmp_path / "mine.html", make_report(4), NOW)
    assert (tmp_path / "mine.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    names = {path.name for path in (tmp_path / "mine-plots").iterdir()}
    keys = ("accuracy", "failures", "thinking", "phases", "lengths", "loss")
    assert names == {f"{key}.{kind}" for key in keys for kind in ("svg", "png")}


def test_write_report_refuses_a_folder(tmp_path: Path, make_report: Callable[..., Report]) -> None:
    with pytest.raises(RunError, match=r"is a folder; name the page's file, such as .*report\.html"):
        write_report(tmp_path, make_report(1), NOW)


def test_write_report_says_what_to_install(
    tmp_path: Path, make_report: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"pip install 'mbt-lite\[report\]'"):
        write_report(tmp_path / "report.html", make_report(1), NOW)
