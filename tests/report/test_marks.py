import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt_lite.records import PhaseSpan
from mbt_lite.report.marks import (
    FIRST,
    GOLD,
    REPEATED,
    TAG,
    located_words,
    mark,
    repeated_words,
    without_tags,
)
from mbt_lite.rewards.mentions import words_through_first_mention
from mbt_lite.rewards.terms import redundancy_term
from mbt_lite.text.completion import parse_completion, trace_span
from mbt_lite.text.normalize import words
from mbt_lite.text.paragraphs import paragraph_spans, paragraphs
from mbt_lite.text.phases import PHASES

texts = st.text(alphabet="aAnthe .,-—\n\t\u00a0'\"İΣß9", max_size=60) | st.text(max_size=60)
tagged = st.lists(
    st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "\n\n", "wait ", "let us check ", "ab cd "])
    | texts,
    max_size=12,
).map("".join)


def flagged(text: str, golds: list[str], flag: int) -> list[str]:
    pieces = [piece for paragraph in mark(text, golds, prefilled_think=False) for piece in paragraph.pieces]
    return [text[start:end] for start, end, flags in pieces if flags & flag]


@pytest.mark.parametrize(
    ("text", "golds", "mentions"),
    [
        ("Paris is it.", ["Paris"], ["Paris"]),
        ('He said "New York", then new  york.', ["New York"], ["New York", "new  york"]),
        ("<answer>Paris</answer>", ["Paris"], ["Paris"]),
        ("Newark, not New.", ["New York"], []),
        ("the US and the U.S.", ["US"], []),
        ("New York City, New York", ["New York", "New York City"], ["New York City", "New York"]),
        ("the Lord of the Rings", ["Lord of Rings"], ["Lord of the Rings"]),
        ("nothing", [], []),
        ("", ["Paris"], []),
    ],
    ids=[
        "one", "quotes and white space", "inside a tag", "part of a word", "too short", "longest first",
        "article inside", "no golds", "no text",
    ],
)  # fmt: skip
def test_mark_finds_golds_as_whole_word_sequences(text: str, golds: list[str], mentions: list[str]) -> None:
    assert flagged(text, golds, GOLD) == mentions


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("<think>Rome? Paris. Paris.</think><answer>Paris</answer>", ["Paris"]),
        ("<think>Rome.</think><answer>Paris</answer>", []),
        ("Paris", []),
    ],
    ids=["in the trace", "in the answer only", "no trace"],
)
def test_mark_knows_the_first_mention_in_the_trace(text: str, first: list[str]) -> None:
    assert flagged(text, ["Paris"], FIRST) == first


def test_mark_colours_repeats_and_tags_of_the_trace_only() -> None:
    text = "<think>First, we need a town.\n\nWait, we need a town again.</think>Wait, we need a town."
    assert flagged(text, [], REPEATED) == []
    assert flagged(text, [], TAG) == ["<think>", "</think>"]


def test_mark_calls_a_paragraph_repeated_from_half_of_its_words_on() -> None:
    said = "<think>one two three four five six\n\n{}</think>"
    again = [
        mark(said.format(second), [], prefilled_think=False)[1].is_repeated
        for second in ("one two three four ab cd ef gh", "one two three four ab cd ef gh ij", "ab")
    ]
    assert again == [True, False, False]


def test_mark_numbers_the_trace_s_paragraphs_as_a_judge_sees_them() -> None:
    text = "<think>\n\nWe ask.\n\nWe plan.\n</think>\n\n<answer>x</answer>"
    found = mark(text, [], prefilled_think=False)
    numbered = {paragraph.number: text[paragraph.start : paragraph.end] for paragraph in found if paragraph.number}
    trace = parse_completion(text).trace
    assert trace is not None
    assert list(numbered) == [1, 2]
    assert all(paragraph in numbered[number] for number, paragraph in enumerate(paragraphs(trace), 1))


@given(texts)
def test_located_words_are_the_words_of_the_text(text: str) -> None:
    assert [word.text for word in located_words(text)] == words(without_tags(text))


@given(tagged, st.booleans())
def test_trace_span_is_the_trace_that_is_scored(text: str, prefilled: bool) -> None:
    span = trace_span(text, prefilled_think=prefilled)
    assert (text[slice(*span)] if span else None) == parse_completion(text, prefilled_think=prefilled).trace


@given(st.text(alphabet="ab ", max_size=60))
def test_repeated_words_agree_with_the_reward_law(text: str) -> None:
    assert any(repeated_words(located_words(text))) == (redundancy_term(text) < 0)


@given(tagged, st.lists(texts, max_size=3))
def test_mark_covers_every_paragraph_once(text: str, golds: list[str]) -> None:
    found = mark(text, golds, prefilled_think=False)
    assert [text[p.start : p.end] for p in found] == paragraphs(text)
    assert all("".join(text[start:end] for start, end, _ in p.pieces) == text[p.start : p.end] for p in found)


@given(st.text(alphabet="ab cd,", max_size=40), st.lists(st.text(alphabet="ab cd", max_size=6), max_size=3))
def test_mark_finds_a_gold_where_the_reward_law_does(trace: str, golds: list[str]) -> None:
    assert bool(flagged(f"<think>{trace}", golds, FIRST)) == (words_through_first_mention(trace, golds) is not None)


@given(st.lists(st.sampled_from([*PHASES, ""]), min_size=1, max_size=8))
def test_mark_shows_the_phases_of_the_paragraphs(read: list[str]) -> None:
    text = "<think>\n" + "\n\n".join(f"paragraph {number}" for number in range(len(read))) + "\n</think>"
    found = paragraph_spans(text, *trace_span(text) or ())
    spans = [PhaseSpan(phase, *span) for phase, span in zip(read, found, strict=True) if phase]
    marked = mark(text, [], spans, prefilled_think=False)
    assert [[PHASES[place] for place in paragraph.phases] for paragraph in marked] == [[p] if p else [] for p in read]


def test_mark_shows_two_phases_of_one_paragraph_once_each() -> None:
    text = "<think>We ask. We plan. We ask.</think>"
    spans = [PhaseSpan("plan", 15, 23), PhaseSpan("understand_filter", 7, 14), PhaseSpan("plan", 24, 31)]
    assert [paragraph.phases for paragraph in mark(text, [], spans, prefilled_think=False)] == [(1, 0)]
