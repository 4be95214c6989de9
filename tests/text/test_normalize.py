import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.text.normalize import normalize, words

PROPERTY = settings(deadline=None, max_examples=200)
ASCII_TEXT = st.text(alphabet=string.printable, max_size=60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("The", "", id="only an article"),
        pytest.param("...", "", id="only punctuation"),
        pytest.param("The  Quick\tBrown\nFox", "quick brown fox", id="case, article, white space"),
        pytest.param("turn-of-the-century", "turnofthecentury", id="punctuation glues words"),
        pytest.param("U.S.", "us", id="abbreviation"),
        pytest.param("$72,641", "72641", id="number"),
        pytest.param("theatre another andy", "theatre another andy", id="articles only as whole words"),
        pytest.param("a.n apple", "apple", id="an article that punctuation hid"),
        pytest.param("under_score", "underscore", id="underscore is punctuation"),
        pytest.param("“Animorphs”", "“animorphs”", id="curly quotes stay"),
        pytest.param("“the end”", "“ end”", id="article beside a curly quote"),
        pytest.param("1950–1953", "1950–1953", id="en dash stays"),
        pytest.param("Ｐａｒｉｓ", "ｐａｒｉｓ", id="full width stays"),
        pytest.param("Paris\u200b", "paris\u200b", id="zero width stays"),
        pytest.param("Cafe\u0301", "cafe\u0301", id="decomposed accent stays"),
        pytest.param("new\u00a0york", "new york", id="no-break space is white space"),
    ],
)
def test_normalize_follows_the_scorers(text: str, expected: str) -> None:
    assert normalize(text) == expected


@PROPERTY
@given(st.text(max_size=60))
def test_normalize_is_idempotent(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)


@PROPERTY
@given(ASCII_TEXT)
def test_normalize_ignores_case_and_outer_articles(text: str) -> None:
    assert normalize(f"  The {text.upper()}  ") == normalize(text.lower())


@PROPERTY
@given(ASCII_TEXT)
def test_normalize_agrees_with_a_letter_by_letter_route(text: str) -> None:
    letters = "".join(letter.lower() for letter in text if letter.isalnum() or letter.isspace())
    kept = [word for word in re.findall(r"[a-z0-9]+", letters) if word not in ("a", "an", "the")]
    assert normalize(text) == " ".join(kept)


@PROPERTY
@given(st.text(max_size=60))
def test_words_are_the_normalised_form_split_on_spaces(text: str) -> None:
    assert " ".join(words(text)) == normalize(text)
    assert all(word and " " not in word for word in words(text))
