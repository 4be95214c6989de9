"""Numbers in answers, read exactly and compared by value."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt_lite.metrics.answers import exact_match, f1, maj_at_k, substring_match
from mbt_lite.rewards.terms import answer_term, exact_term
from mbt_lite.text.numbers import number_in, plain_number

READ = {
    "72": "72", "$1,800.00": "1800", "about 3.50 dollars": "3.5", "5 + 13 = 18": "18", "-7": "-7",
    "\u22127 degrees": "-7", "x = 3/4": "0.75", r"\frac{6}{9}": "2/3", "50%": "50", "1.5e3": "1500", ".5": "0.5",
    "1 234 567": "567", "12,34": "34", "10-12": "12", "version 2": "2", "18.": "18", "1/0": None, "": None,
    "7" * 5000: None, "1/" + "3" * 5000: None, "." + "1" * 5000: None,
}  # fmt: skip


@pytest.mark.parametrize(("text", "number"), READ.items())
def test_plain_number_reads_the_last_one(text: str, number: str | None) -> None:
    assert plain_number(text) == number


@given(st.fractions(max_denominator=10**6))
def test_plain_number_is_read_back_as_the_same_number(value: Fraction) -> None:
    written = plain_number(f"{value.numerator}/{value.denominator}" if value.denominator > 1 else str(value.numerator))
    assert written is not None
    assert number_in(written) == value


@given(st.text(max_size=60))
def test_number_in_reads_any_text(text: str) -> None:
    number_in(text)


GOLD = ("#### 1800",)


@pytest.mark.parametrize("answer", ["1800", "$1,800.00", "It is 1800 clips.", "1800.0"])
def test_an_answer_of_the_same_value_is_right_by_every_measure(answer: str) -> None:
    assert exact_term(answer, GOLD) == answer_term(answer, GOLD) == 1.0
    assert exact_match(answer, GOLD) == substring_match(answer, GOLD) == f1(answer, GOLD, "hotpot") == 1


@pytest.mark.parametrize("answer", ["18000", "180", "-1800", "1.8", "none", ""])
def test_an_answer_of_another_value_is_wrong_by_every_measure(answer: str) -> None:
    assert exact_term(answer, GOLD) == answer_term(answer, GOLD) == 0.0
    assert exact_match(answer, GOLD) == substring_match(answer, GOLD) == f1(answer, GOLD, "hotpot") == 0


def test_signs_and_points_count_where_texts_would_be_equal() -> None:
    assert exact_term("15", ["1.5"]) == 1.0
    assert exact_term("15", ["#### 1.5"]) == exact_term("-5", ["#### 5"]) == 0.0


def test_numbers_vote_by_value() -> None:
    assert maj_at_k(["7", "1,800", "$1800", "none"], GOLD) == 1
