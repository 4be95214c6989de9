import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.text.paragraphs import paragraphs, sentences

PROPERTY = settings(deadline=None, max_examples=200)
TEXTS = st.text(alphabet="ab.!? \n\r\t", max_size=40)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", [], id="empty"),
        pytest.param("\n \n\n", [], id="only white space"),
        pytest.param("one\ntwo", ["one\ntwo"], id="a line break is no paragraph"),
        pytest.param("one\n\ntwo\n \t\n\n three ", ["one", "two", "three"], id="blank lines of every width"),
        pytest.param("one\r\n\r\ntwo", ["one", "two"], id="windows line ends"),
    ],
)
def test_paragraphs_split_on_blank_lines(text: str, expected: list[str]) -> None:
    assert paragraphs(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", [], id="empty"),
        pytest.param("no end", ["no end"], id="without a mark"),
        pytest.param("One. Two! Three?  Four", ["One.", "Two!", "Three?", "Four"], id="each mark"),
        pytest.param("It is 3.14. Right?", ["It is 3.14.", "Right?"], id="decimal point"),
        pytest.param("What?! Yes...\nSo.", ["What?!", "Yes...", "So."], id="marks in a row"),
    ],
)
def test_sentences_split_after_end_marks(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@PROPERTY
@given(TEXTS)
def test_splitting_loses_nothing_but_white_space(text: str) -> None:
    for split in (paragraphs, sentences):
        assert "".join("".join(split(text)).split()) == "".join(text.split())
        assert all(part == part.strip() and part for part in split(text))


@PROPERTY
@given(TEXTS)
def test_paragraphs_and_sentences_do_not_split_further(text: str) -> None:
    assert all(paragraphs(part) == [part] for part in paragraphs(text))
    assert all(sentences(part) == [part] for part in sentences(text))
