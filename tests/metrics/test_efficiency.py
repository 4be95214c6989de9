import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.metrics.efficiency import (
    ZERO_BASE_ACCURACY,
    ZERO_BASE_TOKENS,
    accuracy_efficiency_score,
    metacognitive_quality,
    reach_redundancy,
)

PROPERTY = settings(deadline=None, max_examples=200)
COUNTS = st.integers(1, 50).flatmap(
    lambda total: st.tuples(st.none() | st.integers(1, total), st.integers(0, total), st.just(total))
)


def aes(base: tuple[float, float], ours: tuple[float, float], **constants: float) -> float | None:
    return accuracy_efficiency_score(
        base_tokens=base[0], base_accuracy=base[1], tokens=ours[0], accuracy=ours[1], **constants
    ).value


@pytest.mark.parametrize(
    ("base", "ours", "expected"),
    [
        pytest.param((1342, 0.40), (671, 0.44), 0.8, id="shorter and better"),
        pytest.param((1342, 0.40), (671, 0.36), 0.0, id="shorter and worse"),
        pytest.param((1000, 0.5), (1500, 0.5), -0.5, id="longer, equal accuracy"),
        pytest.param((1000, 0.5), (1000, 0.5), 0.0, id="the base itself"),
        pytest.param((1000, 0.5), (1000, 0.0), -5.0, id="all accuracy lost"),
    ],
)
def test_accuracy_efficiency_score_golden_values(base, ours, expected: float) -> None:
    assert aes(base, ours) == pytest.approx(expected, abs=1e-12)


def test_accuracy_efficiency_score_takes_its_constants() -> None:
    assert aes((100, 0.5), (50, 1.0), alpha=2, beta=7) == pytest.approx(2 * 0.5 + 7 * 1.0)
    assert aes((100, 0.5), (50, 0.25), alpha=2, gamma=7) == pytest.approx(2 * 0.5 - 7 * 0.5)


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        pytest.param((100, 0.0), ZERO_BASE_ACCURACY, id="nothing right"),
        pytest.param((0, 0.5), ZERO_BASE_TOKENS, id="nothing written"),
    ],
)
def test_accuracy_efficiency_score_says_why_it_is_undefined(base: tuple[float, float], reason: str) -> None:
    found = accuracy_efficiency_score(base_tokens=base[0], base_accuracy=base[1], tokens=10, accuracy=1.0)
    assert (found.value, found.undefined_reason) == (None, reason)


@PROPERTY
@given(st.floats(1, 5000), st.floats(0.01, 1), st.floats(1, 5000), st.floats(0, 1))
def test_accuracy_efficiency_score_falls_with_length_and_rises_with_accuracy(
    base_tokens: float, base_accuracy: float, tokens: float, accuracy: float
) -> None:
    base = (base_tokens, base_accuracy)
    here = aes(base, (tokens, accuracy))
    assert here is not None
    assert aes(base, (tokens * 2, accuracy)) < here
    assert aes(base, (tokens, accuracy + 0.1)) > here
    gain = (accuracy - base_accuracy) / base_accuracy
    by_paper = (base_tokens - tokens) / base_tokens + (3 * abs(gain) if gain >= 0 else -5 * abs(gain))
    assert here == pytest.approx(by_paper)


@pytest.mark.parametrize(
    ("first_correct", "redundant", "reach", "redundancy", "balance"),
    [
        pytest.param(4, 2, 0.4, 0.2, 0.685714, id="reached"),
        pytest.param(None, 2, 1.0, 0.2, 0.0, id="never reached"),
        pytest.param(10, 10, 1.0, 1.0, 0.0, id="at the very end, all redundant"),
    ],
)
def test_reach_redundancy_golden_values(first_correct, redundant, reach, redundancy, balance) -> None:
    found = reach_redundancy(first_correct=first_correct, redundant=redundant, total=10)
    assert (found.reach, found.redundancy) == (reach, redundancy)
    assert found.balance == pytest.approx(balance, abs=1e-6)


def test_reach_redundancy_by_the_base_length() -> None:
    found = reach_redundancy(first_correct=4, redundant=30, total=40, base_mean_total=20)
    assert (found.reach, found.redundancy, found.balance) == (0.2, 1.0, 0.0)


@PROPERTY
@given(COUNTS)
def test_reach_redundancy_balance_is_the_harmonic_mean(counts: tuple[int | None, int, int]) -> None:
    first_correct, redundant, total = counts
    found = reach_redundancy(first_correct=first_correct, redundant=redundant, total=total)
    expected = statistics.harmonic_mean([1 - found.reach, 1 - found.redundancy])
    assert found.balance == pytest.approx(expected, abs=1e-12)
    assert 0 <= found.balance <= 1


@pytest.mark.parametrize("counts", [(1, 0, 0), (0, 0, 5), (6, 0, 5), (1, 6, 5), (1, -1, 5)])
def test_reach_redundancy_refuses_impossible_counts(counts: tuple[int, int, int]) -> None:
    with pytest.raises(AssertionError):
        reach_redundancy(first_correct=counts[0], redundant=counts[1], total=counts[2])


def test_metacognitive_quality_golden_value() -> None:
    assert metacognitive_quality(4, tokens=671, base_tokens=1342) == 8.0
    assert metacognitive_quality(0, tokens=671, base_tokens=1342) == 0.0


@pytest.mark.parametrize("case", [(6, 1, 1), (-1, 1, 1), (3, 0, 1), (3, 1, 0)])
def test_metacognitive_quality_refuses_impossible_values(case: tuple[int, int, int]) -> None:
    with pytest.raises(AssertionError):
        metacognitive_quality(case[0], tokens=case[1], base_tokens=case[2])
