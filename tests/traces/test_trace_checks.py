"""The quality gate, reason by reason, on texts written by hand."""

import pytest

from mbt_lite.records import Document, Question
from mbt_lite.traces.checks import rejection

GOOD = """The question asks who runs the mill. We set aside the lake.

First we need the mill's document.

Document 1 says that the mill is run by Nora Vale. This follows.

Wait, is it Otto Quill? No, he is on the lake.

To verify: she fits the question. So the answer is Nora Vale."""


def ask(answer: str = "Nora Vale", text: str = "The mill is run by Nora Vale.", question: str = "Who?") -> Question:
    return Question("q1", question, answer, (), (Document("Mill", text, True),), "mbt")


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "Nora Vale",
        "So: NORA VALE!\n\n",
        "We read.\n\nIt is 5 < 6, and a-b * c, so Nora Vale.",
        "He died in\n1950. So the answer is Nora Vale.",
        "We think, and answer: Nora Vale.",
        "The #1 hit of Nora Vale.",
    ],
    ids=["five phases", "the gold alone", "case and signs", "odd signs", "a year opens a line", "plain word", "hash"],
)
def test_rejection_lets_a_good_text_pass(text: str) -> None:
    assert rejection(text, "stop", ask()) is None


@pytest.mark.parametrize(
    ("finish_reason", "reason"),
    [
        ("refused", "refused"),
        ("length", "truncated"),
        ("content_filter", "finish reason content_filter"),
        ("tool_calls", "finish reason tool_calls"),
    ],
)
def test_rejection_names_how_a_reply_ended(finish_reason: str, reason: str) -> None:
    assert rejection(GOOD, finish_reason, ask()) == reason


@pytest.mark.parametrize("text", ["", " ", "\n\n\t"])
def test_rejection_of_an_empty_text(text: str) -> None:
    assert rejection(text, "stop", ask()) == "empty"


@pytest.mark.parametrize("tag", ["<think>", "</think>", "<answer>", "</answer>", "<answer >", "<|im_end|>"])
@pytest.mark.parametrize("place", ["{tag} {good}", "{good} {tag}"])
def test_rejection_of_tags(tag: str, place: str) -> None:
    assert rejection(place.format(tag=tag, good=GOOD), "stop", ask()) == "holds tags"


@pytest.mark.parametrize(
    "mark",
    [
        "# Plan",
        "### Plan",
        "- we read",
        "* we read",
        "+ we read",
        "• we read",
        "1. We read",
        "12) We read",
        "```",
        "**We**",
    ],
)
@pytest.mark.parametrize("place", ["{mark}\n{good}", "We.\n\n  {mark}\n{good}"], ids=["first", "later"])
def test_rejection_of_markdown(mark: str, place: str) -> None:
    assert rejection(place.format(mark=mark, good=GOOD), "stop", ask()) == "markdown"


@pytest.mark.parametrize(
    "phrase",
    [
        "The draft says so.",
        "By the given answer we know.",
        "This is the provided answer.",
        "It fits the correct answer.",
        "The Gold Answer is known.",
        "As the reference answer says.",
        "The solution guide says so.",
        "By the guide we know.",
        "The answer is given already.",
        "The answer was provided.",
    ],
)
def test_rejection_of_what_only_the_writer_was_shown(phrase: str) -> None:
    assert rejection(f"{phrase} {GOOD}", "stop", ask()) == "reveals that the answer was given"


@pytest.mark.parametrize(
    "question",
    [ask(text="He entered the 2004 draft; Nora Vale runs the mill."), ask(question="Who was first in the draft?")],
    ids=["document", "question"],
)
def test_rejection_leaves_the_documents_their_words(question: Question) -> None:
    text = f"Document 1 speaks of the draft. {GOOD}"
    assert rejection(text, "stop", question) is None
    assert rejection(f"{text} By the guide.", "stop", question) == "reveals that the answer was given"


@pytest.mark.parametrize(
    "text",
    [
        "We read, but find nothing.",
        "So the answer is Nora.",
        "So the answer is Eleonora Valerie.",
        "Document 1 says that it is Nora Vale.\n\nHold on, we check. So the answer is Otto Quill.",
    ],
    ids=["nothing", "half of it", "within words", "found and lost"],
)
def test_rejection_of_a_text_that_does_not_end_with_the_gold(text: str) -> None:
    assert rejection(text, "stop", ask()) == "does not reach the gold"


@pytest.mark.parametrize("answer", ["yes", "No", "no."])
def test_rejection_does_not_search_for_yes_and_no(answer: str) -> None:
    assert rejection("Both are in Ohio, so they are alike.", "stop", ask(answer)) is None


@pytest.mark.parametrize(
    ("answer", "text", "reason"),
    [
        ("The The", "So the band is The The.", None),
        ("The The", "So the band is Blur.", "does not reach the gold"),
        ("???", "So the title is ???.", None),
        ("A", "So the mark is A.", None),
        ("16,801", "So there were 16801.", None),
        ("The U.S. Navy", "So it is US navy.", None),
    ],
    ids=["only articles", "only articles, missed", "only signs", "one article", "number", "articles and dots"],
)
def test_rejection_finds_odd_golds(answer: str, text: str, reason: str | None) -> None:
    assert rejection(text, "stop", ask(answer)) == reason


def test_rejection_gives_the_first_reason_of_many() -> None:
    text = "# Plan\n<think> By the guide."
    assert rejection(text, "length", ask()) == "truncated"
    assert rejection(text, "stop", ask()) == "holds tags"
    assert rejection(text.replace("<think>", ""), "stop", ask()) == "markdown"
    assert rejection("By the guide.", "stop", ask()) == "reveals that the answer was given"
