import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.recipe.schema import RewardWeights
from mbt_lite.rewards.law import Terms, score, total
from mbt_lite.rewards.terms import TERMS, RewardLimits

PROPERTY = settings(deadline=None, max_examples=300)
LIMITS = RewardLimits(max_completion_tokens=100, verification_words=2, overlong_buffer_tokens=20)
PIECES = st.sampled_from(
    ["<think>", "</think>", "<answer>", "</answer>", "Rome ", "the ", "wait ", "first we need ", "we look ", "\n\n"]
)
TEXTS = st.lists(PIECES, max_size=25).map("".join)
CLEAN = st.tuples(TEXTS, TEXTS).map(
    lambda parts: "<think>{}</think>\n<answer>{}</answer>".format(*(re.sub(r"</?\w+>", "", part) for part in parts))
)
RANGES = {
    "answer": (0, 1), "exact": (0, 1), "format": (0, 1), "keep": (-1, 0),
    "dwell": (-1, 0), "redundancy": (-1, 0), "length": (-1, 0),
}  # fmt: skip


def scored(text: str, *, stopped: bool = True, tokens: int = 50, golds: tuple[str, ...] = ("Rome",)) -> Terms:
    return score(text, stopped=stopped, completion_tokens=tokens, golds=golds, limits=LIMITS)


def terms_of(*values: float) -> Terms:
    return dict(zip(TERMS, values, strict=True))


def test_score_of_a_right_completion_by_hand() -> None:
    # 13 words, the gold is the 8th: 3 words beyond the allowance of 2. No 4-gram repeats.
    trace = "First we need the city. The second document says Rome. Let us check: it fits."
    terms = scored(f"<think>{trace}</think>\n<answer>Rome</answer>", tokens=90)
    assert tuple(terms.values()) == pytest.approx((1, 1, 1, 0, -3 / 13, 0, -0.5), abs=1e-12)


def test_score_of_a_lost_answer_by_hand() -> None:
    # 8 words, five 4-grams, of which the last repeats the first.
    text = "<think>So it is Rome. So it is Rome.</think> <answer>Rome or Oslo</answer> <answer>Rome Italy</answer>"
    terms = scored(text, stopped=False, tokens=100)
    assert tuple(terms.values()) == pytest.approx((2 / 3, 0, 0, -1, 0, -1 / 5, -1), abs=1e-12)


def test_score_of_an_unclosed_trace_by_hand() -> None:
    terms = scored("<think>It is Rome. <answer>Rome</answer>", stopped=False)
    assert terms == terms_of(0.0, 0.0, 0.0, -1.0, 0.0, 0.0, -1.0)


def test_terms_stand_in_the_order_of_the_recipe() -> None:
    assert tuple(RewardWeights.model_fields) == tuple(TERMS)
    assert {name: (term.low, term.high) for name, term in TERMS.items()} == RANGES
    assert tuple(scored("")) == tuple(TERMS)


@PROPERTY
@given(TEXTS | CLEAN, st.booleans(), st.integers(0, 100), st.booleans())
def test_score_stays_in_range_and_has_no_negative_zero(text: str, stopped: bool, tokens: int, prefilled: bool) -> None:
    terms = score(
        text, stopped=stopped, completion_tokens=tokens, golds=["Rome"], limits=LIMITS, prefilled_think=prefilled
    )
    for name, (low, high) in RANGES.items():
        value = terms[name]
        assert low <= value <= high, name
        assert value != 0 or math.copysign(1, value) == 1, name


@PROPERTY
@given(CLEAN)
def test_score_ignores_what_normalisation_ignores(text: str) -> None:
    def decorate(inner: str) -> str:
        return inner.upper().replace(" ", "!  the ")

    trace, answer = re.fullmatch(r"<think>(.*)</think>\n<answer>(.*)</answer>", text, re.DOTALL).groups()  # type: ignore[union-attr]
    decorated = f"<think>{decorate(trace)}</think>\n\n<answer> {decorate(answer)} </answer> "
    assert scored(decorated, golds=("the ROME!",)) == scored(text)


@PROPERTY
@given(TEXTS | CLEAN, st.permutations(["Rome", "we look", "wait", "Oslo"]))
def test_score_does_not_depend_on_the_order_of_golds(text: str, golds: list[str]) -> None:
    assert scored(text, golds=tuple(golds)) == scored(text, golds=("Rome", "we look", "wait", "Oslo"))


@PROPERTY
@given(CLEAN)
def test_score_reads_a_prefilled_completion_like_a_whole_one(text: str) -> None:
    without_opening = text.removeprefix("<think>")
    prefilled = score(
        without_opening, stopped=True, completion_tokens=50, golds=["Rome"], limits=LIMITS, prefilled_think=True
    )
    assert prefilled == scored(text)


@PROPERTY
@given(TEXTS)
def test_score_rewards_nothing_in_a_trace_that_is_never_closed(text: str) -> None:
    terms = scored("<think>" + text.replace("</think>", ""))
    assert (terms["answer"], terms["exact"], terms["format"]) == (0, 0, 0)


@pytest.mark.parametrize("golds", [pytest.param((), id="none"), pytest.param("Rome", id="a bare text")])
def test_score_refuses_golds_that_are_no_list(golds: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError, match="gold"):
        scored("<answer>Rome</answer>", golds=golds)


def test_total_weighs_each_term() -> None:
    terms = terms_of(0.5, 1.0, 1.0, -1.0, -0.25, -0.5, -0.75)
    weights = {name: float(10**power) for power, name in enumerate(TERMS)}
    by_hand = 0.5 + 10 + 100 - 1_000 - 2_500 - 50_000 - 750_000
    assert total(terms, weights) == pytest.approx(by_hand)
    assert total(terms, RewardWeights(**weights).model_dump()) == pytest.approx(by_hand)


def test_total_of_the_default_recipe_is_the_answer_term_alone() -> None:
    terms = terms_of(0.5, 1.0, 1.0, -1.0, -0.25, -0.5, -0.75)
    assert total(terms, RewardWeights().model_dump()) == 0.5
    assert total(terms, {"answer": 1.0}) == 0.5
    assert total(terms, {}) == 0.0


def test_total_refuses_an_unknown_term() -> None:
    with pytest.raises(AssertionError, match="anwser"):
        total(terms_of(*[0.0] * 7), {"anwser": 1.0})


@pytest.mark.parametrize("wrong", [(0, 0, 0), (1, -1, 0), (1, 0, -1)])
def test_reward_limits_refuse_impossible_values(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(AssertionError):
        RewardLimits(*wrong)
