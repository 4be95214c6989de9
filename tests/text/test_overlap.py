import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.text.normalize import words
from mbt_lite.text.overlap import token_f1

PROPERTY = settings(deadline=None, max_examples=200)
TEXTS = st.lists(st.sampled_from(["New", "york", "the", "city", "of", "...", "York!"]), max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [
        pytest.param("new york city", "new york", 0.8, id="one word too many"),
        pytest.param("york", "new york city", 0.5, id="two words missing"),
        pytest.param("york york", "york", 2 / 3, id="repeats count once"),
        pytest.param("the", "a", 1.0, id="both without words"),
        pytest.param("", "york", 0.0, id="prediction without words"),
        pytest.param("york", "the", 0.0, id="gold without words"),
        pytest.param("rome", "york", 0.0, id="nothing shared"),
    ],
)
def test_token_f1_counts_shared_words(prediction: str, gold: str, expected: float) -> None:
    assert token_f1(prediction, gold) == pytest.approx(expected, abs=1e-12)


@PROPERTY
@given(TEXTS, TEXTS)
def test_token_f1_agrees_with_precision_and_recall(prediction: str, gold: str) -> None:
    predicted, left = words(prediction), words(gold)
    wanted = len(left)
    shared = 0
    for word in predicted:
        if word in left:
            left.remove(word)
            shared += 1
    if not predicted and not wanted:
        expected = 1.0
    elif not shared:
        expected = 0.0
    else:
        precision, recall = shared / len(predicted), shared / wanted
        expected = 2 * precision * recall / (precision + recall)
    assert token_f1(prediction, gold) == pytest.approx(expected, abs=1e-12)


@PROPERTY
@given(TEXTS, TEXTS)
def test_token_f1_is_symmetric_and_within_0_and_1(one: str, other: str) -> None:
    assert token_f1(one, other) == token_f1(other, one)
    assert 0.0 <= token_f1(one, other) <= 1.0
    assert token_f1(one, one) == 1.0
