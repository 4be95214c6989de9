import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt_lite.report.mentions import located_words, mention_spans, segments, without_tags
from mbt_lite.rewards.mentions import words_through_first_mention
from mbt_lite.text.normalize import words

texts = st.text(alphabet="aAnthe .,-—\n\t\u00a0'\"İΣß9", max_size=60) | st.text(max_size=60)


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
def test_mention_spans_finds_whole_word_sequences(text: str, golds: list[str], mentions: list[str]) -> None:
    assert [text[start:end] for start, end in mention_spans(text, golds)] == mentions


@given(texts)
def test_located_words_are_the_words_of_the_text(text: str) -> None:
    assert [word for word, _, _ in located_words(text)] == words(without_tags(text))


@given(texts, st.lists(texts, max_size=3))
def test_segments_join_to_the_text(text: str, golds: list[str]) -> None:
    assert "".join(segments(text, golds)) == text


@given(st.text(alphabet="ab cd,", max_size=40), st.lists(st.text(alphabet="ab cd", max_size=6), max_size=3))
def test_mention_spans_agree_with_the_reward_law(text: str, golds: list[str]) -> None:
    assert bool(mention_spans(text, golds)) == (words_through_first_mention(text, golds) is not None)
