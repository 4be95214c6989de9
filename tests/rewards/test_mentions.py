import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.rewards.mentions import contains_words, mentionable, words_through_first_mention
from mbt_lite.text.normalize import normalize, words

PROPERTY = settings(deadline=None, max_examples=300)
WORDS = st.sampled_from(["new", "york", "newark", "the", "us", "city,", "York!", "12", "yes", "no"])
TEXTS = st.lists(WORDS, max_size=12).map(" ".join)
GOLDS = st.lists(st.lists(WORDS, max_size=3).map(" ".join), min_size=1, max_size=3)


@pytest.mark.parametrize(
    ("text", "golds", "expected"),
    [
        pytest.param("So it is Paris, not Rome.", ["Paris"], 4, id="counts the mention itself"),
        pytest.param("So it is Paris, not Rome.", ["Rome", "Paris"], 4, id="first of two golds"),
        pytest.param("York, New York", ["New York"], 3, id="whole sequence, not its parts"),
        pytest.param("Parisian life", ["Paris"], None, id="not inside a word"),
        pytest.param("Let us see", ["U.S."], None, id="normalised to two characters"),
        pytest.param("On to AT", ["AT"], None, id="two characters"),
        pytest.param("the the the", ["The"], None, id="normalised to nothing"),
        pytest.param("", ["Paris"], None, id="empty text"),
        pytest.param("New York City it is", ["New York City", "New York"], 2, id="the shorter alias is complete first"),
        pytest.param("we saw a b c d", ["we saw b c", "saw b"], 3, id="complete first, though begun later"),
        pytest.param("Is it yes or no? Yes.", ["yes"], None, id="yes is no mention"),
        pytest.param("Is it yes or no? No.", ["no"], None, id="no is none either"),
        pytest.param("Is it yes? Yes, both", ["Yes", "yes, both"], 5, id="an alias that says more"),
        pytest.param("the year 812", ["812"], 2, id="three characters count"),
        pytest.param("It costs $18.00, so 1,800 in all", ["#### 1800"], 5, id="a number by its value"),
        pytest.param("2000 - 150 is it", ["#### 150.0"], 2, id="a number after a minus"),
        pytest.param("we have 72 of them", ["#### 72"], None, id="a short number"),
    ],
)
def test_words_through_first_mention_counts_words(text: str, golds: list[str], expected: int | None) -> None:
    assert words_through_first_mention(text, golds) == expected


@PROPERTY
@given(TEXTS, GOLDS)
def test_words_through_first_mention_agrees_with_slices(text: str, golds: list[str]) -> None:
    sequence = words(text)
    ends = [
        start + len(words(gold))
        for gold in golds
        if len(normalize(gold)) >= 3 and normalize(gold) != "yes"
        for start in range(len(sequence))
        if sequence[start : start + len(words(gold))] == words(gold)
    ]
    assert words_through_first_mention(text, golds) == min(ends, default=None)


@PROPERTY
@given(TEXTS, GOLDS, st.randoms(use_true_random=False))
def test_words_through_first_mention_does_not_depend_on_the_order_of_golds(text, golds, random) -> None:
    shuffled = random.sample(golds, len(golds))
    assert words_through_first_mention(text, shuffled) == words_through_first_mention(text, golds)


@PROPERTY
@given(TEXTS, GOLDS, st.lists(WORDS, min_size=1, max_size=3).map(" ".join))
def test_another_alias_only_brings_the_first_mention_forward(text: str, golds: list[str], alias: str) -> None:
    before, after = words_through_first_mention(text, golds), words_through_first_mention(text, [*golds, alias])
    assert before is None or (after is not None and after <= before)


def test_contains_words_finds_whole_words_only() -> None:
    assert contains_words("one two three", "two three")
    assert not contains_words("one two three", "two thre")
    assert not contains_words("", "two")


def test_mentionable_leaves_out_short_golds() -> None:
    assert mentionable(["The Who", "U.S.", "", "A", "5 7", "Yes!", "no", "yes it is"]) == ["who", "5 7", "yes it is"]
