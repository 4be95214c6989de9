"""The page in a headless Chromium: every plot is drawn, filter, search and keyboard work, hostile text stays text."""

import datetime
import re
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from mbt_lite.report.contents import Report
from mbt_lite.report.html import all_plots, render

NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)
SIZES = {"wide": (1280, 900), "narrow": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("needs chromium or google-chrome to open the report")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(make_report: Callable[..., Report], tmp_path_factory: pytest.TempPathFactory) -> str:
    report = make_report()
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(report, all_plots(report), NOW), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Open the page at a size and in a scheme; nothing may be said on the console, whatever the test does."""
    said: list[str] = []
    pages: list[Page] = []

    def open_page(size: str = "wide", scheme: str = "light") -> Page:
        width, height = SIZES[size]
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith("file:") else said.append(request.url))
        page.goto(address)
        page.locator("#questions details[open] .pair").wait_for()
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_page_draws_every_plot_within_its_width(size: str, scheme: str, open_page: Callable[..., Page]) -> None:
    page = open_page(size, scheme)
    figures = page.locator("figure")
    expect(figures.locator("svg.marks")).to_have_count(figures.count())
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
    for box in page.locator(".chart").all():
        inner, outer = box.locator("svg.marks").bounding_box(), box.bounding_box()
        assert inner is not None
        assert outer is not None
        assert inner["width"] <= outer["width"] + 1
        assert inner["height"] > 100


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (420, 900)])
def test_first_screen_holds_the_verdict_and_two_plots(
    width: int, height: int, open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES, "screen", (width, height))
    page = open_page("screen")
    expect(page.locator(".lead svg.marks")).to_have_count(2)
    for part in [page.locator(".verdict"), *page.locator(".lead .chart").all()]:
        box = part.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= height


def test_rows_of_traces_and_judge_are_folded(open_page: Callable[..., Page]) -> None:
    page = open_page()
    row = page.get_by_role("rowheader", name="phases shown")
    expect(row).to_be_hidden()
    page.get_by_text("What the traces are like").click()
    expect(row).to_be_visible()


def test_page_takes_its_colours_from_the_reader_and_from_the_button(open_page: Callable[..., Page]) -> None:
    page = open_page(scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    button = page.get_by_role("button", name="Theme")
    button.click()
    expect(button).to_have_text("Theme: light")
    assert page.evaluate(ground) != dark
    button.click()
    assert page.evaluate(ground) == dark


def test_filter_finds_outcomes_and_kinds_of_failure(open_page: Callable[..., Page]) -> None:
    page = open_page()
    cards, count = page.locator("#questions details"), page.locator("#count")
    for outcome, n in {"found and lost": 21, "never found": 11, "degenerate": 0, "": 64}.items():
        page.locator("[name=outcome]").select_option(outcome)
        expect(count).to_have_text(f"{n} of 64 questions")
        expect(cards).to_have_count(min(n, 20))
    page.locator("[name=outcome]").select_option("gained")
    expect(count).to_have_text("25 of 64 questions")
    page.locator("[name=left]").select_option("metacognitive")
    expect(count).to_have_text("16 of 64 questions")
    page.locator("[name=outcome]").select_option("dropped")
    expect(count).to_have_text("0 of 64 questions")
    expect(page.locator(".no-data")).to_have_text("No question fits. Loosen the filter or the search.")


def test_search_finds_text_of_traces_and_marks_it(open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.keyboard.press("/")
    expect(page.locator("[name=search]")).to_be_focused()
    page.keyboard.type("OF DEVICE 7.")
    expect(page.locator("#count")).to_have_text("1 of 64 questions")
    card = page.locator("#questions details")
    expect(card.locator("h4")).to_have_text(["base", "sft"])
    assert page.evaluate("[...CSS.highlights.get('found')].map(String)") == ["of device 7.", "of device 7."]


def test_traces_show_golds_phases_and_tags(open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.locator("[name=search]").fill("of device 7.")
    trace = page.get_by_role("region", name="what sft wrote")
    expect(trace.locator("mark.first")).to_have_text(["New Arden"])
    expect(trace.locator("mark")).to_have_text(["New Arden", "New Arden"])
    expect(trace.locator("p.phased .phase")).to_have_text(["understand", "self-correct"])
    expect(page.locator(".key")).to_contain_text("held-out accuracy 98.3% (0.5% left unread, n=600 paragraphs)")
    expect(trace.locator(".tag")).to_have_text(["<think>", "</think>", "<answer>", "</answer>"])
    page.get_by_role("checkbox", name="gold").uncheck()
    page.locator("[name=search]").fill("of device 7")
    assert "rgba(0, 0, 0, 0)" in trace.locator("mark.first").evaluate("node => getComputedStyle(node).backgroundColor")


def test_keyboard_moves_through_questions_and_opens_them(open_page: Callable[..., Page]) -> None:
    page = open_page()
    summaries = page.locator("#questions summary")
    page.keyboard.press("j")
    expect(summaries.nth(0)).to_be_focused()
    for _ in range(20):
        page.keyboard.press("j")
    # past the last one there were more
    expect(summaries).to_have_count(40)
    expect(summaries.nth(20)).to_be_focused()
    page.keyboard.press("k")
    expect(summaries.nth(19)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#questions details").nth(19).locator(".pair")).to_be_visible()
    page.locator("[name=search]").focus()
    page.keyboard.type("jk/")
    expect(page.locator("[name=search]")).to_have_value("jk/")


def test_more_shows_the_next_questions(open_page: Callable[..., Page]) -> None:
    page = open_page()
    for n in (40, 60, 64):
        page.get_by_role("button", name="Show more").click()
        expect(page.locator("#questions details")).to_have_count(n)
    expect(page.locator("#more")).to_be_hidden()


def test_a_click_on_a_bar_shows_its_traces(open_page: Callable[..., Page]) -> None:
    page = open_page()
    bar = page.locator("#plot-failures .mark-rect path[aria-label*='found and lost'][aria-label*='base']")
    bar.click(position={"x": 4, "y": 4})
    expect(page.locator("[name=right]")).to_have_value("base")
    expect(page.locator("[name=outcome]")).to_have_value("found and lost")
    expect(page.locator("#count")).to_have_text(re.compile("34 of 64"))


def test_hostile_text_stays_text(open_page: Callable[..., Page]) -> None:
    page = open_page()
    expect(page.locator("h1")).to_contain_text("</script><b>bold</b>")
    expect(page.locator("#questions summary").first).to_contain_text("<img src=http://evil.example/x.png>")
    expect(page.locator("b, main img")).to_have_count(0)


def test_page_is_named_for_readers_who_cannot_see_it(open_page: Callable[..., Page]) -> None:
    page = open_page()
    expect(page.locator(".chart svg.marks").last).to_be_visible()
    for chart in page.locator(".chart").all():
        assert chart.get_attribute("aria-label")
    for control in page.locator("select:visible, input:visible, button:visible").all():
        name = control.evaluate("node => node.labels?.[0]?.textContent ?? node.textContent")
        assert name.strip(), control
