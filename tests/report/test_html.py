import base64
import dataclasses
import datetime
import gzip
import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt_lite.report.contents import Curve, Report, Teachers
from mbt_lite.report.html import cut_middle, render, shared_limit, write_report

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


def unpacked(source: str) -> Any:
    match = re.search(r'id="packed">([^<]*)</script>', source)
    assert match
    return json.loads(gzip.decompress(base64.b64decode(match[1])))


def test_render_gives_a_page_with_every_part(make_report: Callable[..., Report]) -> None:
    page = Page(render(make_report(), NOW))
    assert page.count("figure") == 4
    assert page.count("svg") == 3
    assert page.count("table") == 1
    assert page.texts["h3"] == ["Accuracy against length", "How answers fail", "Training loss, sft", "Reward, grpo"]
    assert "2026-11-21 12:00 UTC" in page.texts["dd"]


def test_render_says_where_a_curve_is_missing(make_report: Callable[..., Report]) -> None:
    page = Page(render(make_report(), NOW))
    assert "no data" in page.texts["p"]
    assert any("grpo/metrics.jsonl is not in this run" in text for text in page.texts["figcaption"])


def test_render_draws_the_rewards_if_they_are_there(make_report: Callable[..., Report]) -> None:
    rewards = (Curve("grpo", "reward", ((1.0, 0.2), (2.0, 0.4))), Curve("grpo", "reward/keep", ((1.0, -0.5),)))
    report = make_report()
    page = Page(render(dataclasses.replace(report, curves=(report.curves[0], *rewards)), NOW))
    assert page.count("svg") == 4


def test_render_needs_no_network(make_report: Callable[..., Report]) -> None:
    page = Page(render(make_report(), NOW))
    links = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href", "xlink:href")]
    assert links
    assert all(link is not None and re.match(r"#|data:", link) for link in links)
    assert not any("http" in text or "url(" in text for text in page.texts["style"] + page.texts["script"])


def test_render_keeps_hostile_text_as_text(make_report: Callable[..., Report]) -> None:
    hostile = "<think></script><b> Arden </b><!--\u2028 \U0001f600</think><answer>]]></answer>"
    source = render(make_report(2, hostile), NOW)
    page = Page(source)
    assert page.count("b") == 0
    assert page.count("img") == 0
    assert page.count("script") == 2
    assert any("</script><b>bold</b>" in text for text in page.texts["h1"])
    shown = unpacked(source)["questions"][0]["predictions"]["sft"]["segments"]
    assert "".join(shown) == hostile
    assert shown[1] == "Arden"


def test_render_joins_variants_by_question(make_report: Callable[..., Report]) -> None:
    report = make_report(6)
    shuffled = {variant: rows[::-1] if variant == "sft" else rows for variant, rows in report.predictions.items()}
    content = unpacked(render(dataclasses.replace(report, predictions=shuffled), NOW))
    assert content["variants"] == ["base", "metacognitive", "sft"]
    assert [question["id"] for question in content["questions"]] == [f"q{number}" for number in range(6)]
    assert all(
        question["predictions"]["sft"]["tokens"] == question["predictions"]["base"]["tokens"]
        for question in content["questions"]
    )


@pytest.mark.parametrize(
    ("teachers", "said"),
    [
        (Teachers(("scripted",), 9, 9), "9 of the 9 training traces were written by the rule-based teacher"),
        (Teachers(("big-model",), 9, 0), "9 training traces by big-model."),
        (Teachers((), 0, 0), "This run has no training traces"),
    ],
    ids=["scripted", "a model", "none"],
)
def test_render_says_who_wrote_the_traces(teachers: Teachers, said: str, make_report: Callable[..., Report]) -> None:
    assert said in render(dataclasses.replace(make_report(3), teachers=teachers), NOW)


def test_write_report_stays_under_5_mb_for_3_variants_of_500_long_traces(
    tmp_path: Path, make_report: Callable[..., Report]
) -> None:
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("etaoinshrdlucmf", k=rng.randint(2, 9))) for _ in range(20_000)]
    report = make_report(500)
    predictions = {
        variant: [dataclasses.replace(row, text=" ".join(rng.choices(vocabulary, k=1_600))) for row in rows]
        for variant, rows in report.predictions.items()
    }
    write_report(tmp_path / "report.html", dataclasses.replace(report, predictions=predictions), NOW)
    size = (tmp_path / "report.html").stat().st_size
    # the limit is used, not only kept
    assert 4_000_000 <= size <= 5_000_000


def test_pack_ends_where_cutting_cannot_help(
    monkeypatch: pytest.MonkeyPatch, make_report: Callable[..., Report]
) -> None:
    monkeypatch.setattr("mbt_lite.report.html.MAX_PACKED_CHARACTERS", 10)
    text = unpacked(render(make_report(2, "ab " * 500), NOW))["questions"][0]["predictions"]["sft"]["segments"]
    assert "[... 1,100 characters left out of this page" in text[0]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.integers(12, 400))
def test_shared_limit_is_the_highest_that_fits(lengths: list[int], budget: int) -> None:
    def total(limit: int) -> int:
        return sum(min(length, limit) for length in lengths)

    limit = shared_limit(lengths, budget)
    assert total(limit) <= budget
    assert limit == max(lengths) or total(limit + 1) > budget


def test_cut_middle_keeps_a_text_that_fits() -> None:
    assert cut_middle("abcd", 4) == "abcd"


def test_cut_middle_says_how_much_is_missing() -> None:
    assert cut_middle("a" * 3000 + "b" * 3000, 2000).startswith("a" * 1000 + "\n[... 4,000 characters left out")


# what a reader does with mouse and keyboard, then what the page shows; appended to a copy of the page
USE = """
<script>
window.addEventListener("load", async () => {
  const settled = () => new Promise((resolve) => setTimeout(resolve, 300));
  await settled();
  const form = document.getElementById("filter");
  const seen = [];
  const use = (name, value) => {
    form.elements[name].value = value;
    form.dispatchEvent(new Event("input", {bubbles: true}));
    const cards = document.querySelectorAll("#questions details").length;
    seen.push(`${name}=${value}: ${document.getElementById("count").textContent}, ${cards} cards`);
  };
  use("outcome", "found and lost");
  use("outcome", "gained");
  use("outcome", "");
  use("search", "DEVICE 7 ");
  await settled();
  const open = document.querySelector("#questions details[open]");
  seen.push(`columns ${open.querySelectorAll("h4").length}, first ${open.querySelectorAll("mark.first").length}`);
  use("search", "nowhere");
  use("search", "");
  document.getElementById("more").click();
  seen.push(`${document.querySelectorAll("#questions details").length} cards`);
  document.body.append(Object.assign(document.createElement("pre"), {id: "seen", textContent: seen.join("\\n")}));
});
</script>
"""

SEEN = """\
outcome=found and lost: 21 of 64 questions, 20 cards
outcome=gained: 25 of 64 questions, 20 cards
outcome=: 64 of 64 questions, 20 cards
search=DEVICE 7 : 1 of 64 questions, 1 cards
columns 2, first 2
search=nowhere: 0 of 64 questions, 0 cards
search=: 64 of 64 questions, 20 cards
40 cards"""


def test_page_works_in_a_browser(tmp_path: Path, make_report: Callable[..., Report]) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium or google-chrome to open the report")
    (tmp_path / "report.html").write_text(render(make_report(), NOW).replace("</body>", USE + "</body>"), "utf-8")
    quiet = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    command = [browser, *quiet.split(), "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=5000", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run(
        [*command, (tmp_path / "report.html").as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    assert "CONSOLE" not in done.stderr
    match = re.search(r'<pre id="seen">([^<]*)</pre>', done.stdout)
    assert match is not None
    assert match[1] == SEEN
