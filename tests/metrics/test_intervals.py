import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.metrics.intervals import (
    NORMAL_FROM,
    Z_95,
    mean_intervals,
    percentile_interval,
    resampled_means,
    wilson_interval,
)

PROPERTY = settings(deadline=None, max_examples=200)


@pytest.mark.parametrize(
    ("n_successes", "n", "low", "high"),
    [
        pytest.param(0, 96, 0.0, 0.038475, id="none of 96"),
        pytest.param(96, 96, 0.961525, 1.0, id="all of 96"),
        pytest.param(5, 10, 0.236593, 0.763407, id="half of ten"),
        pytest.param(0, 1, 0.0, 0.793450, id="none of one"),
    ],
)
def test_wilson_interval_by_hand(n_successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(n_successes, n) == pytest.approx((low, high), abs=1e-6)


def test_z_is_the_normal_quantile() -> None:
    assert pytest.approx(statistics.NormalDist().inv_cdf(0.975), abs=1e-12) == Z_95


@PROPERTY
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_solves_the_score_equation(case: tuple[int, int]) -> None:
    n_successes, n = case
    share = n_successes / n
    low, high = wilson_interval(n_successes, n)
    assert 0 <= low <= share <= high <= 1
    assert low < high
    for bound in (low, high):
        # At 0 and 1 the end that touches the share is set, not solved.
        if bound != share:
            assert abs(share - bound) / math.sqrt(bound * (1 - bound) / n) == pytest.approx(Z_95)
    mirrored = wilson_interval(n - n_successes, n)
    assert mirrored == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize("case", [(0, 0), (3, 2), (-1, 2)])
def test_wilson_interval_refuses_impossible_counts(case: tuple[int, int]) -> None:
    with pytest.raises(AssertionError):
        wilson_interval(*case)


def test_resampled_means_are_seeded_and_draw_rows_whole() -> None:
    values = np.array([[0.0, 5.0], [1.0, 6.0], [2.0, 7.0]])
    means = resampled_means(values, 40, seed=1)
    assert means.shape == (40, 2)
    assert np.array_equal(means, resampled_means(values, 40, seed=1))
    assert not np.array_equal(means, resampled_means(values, 40, seed=2))
    # the second column is the first plus 5 in every row, so in every resample too
    assert means[:, 1] - means[:, 0] == pytest.approx(np.full(40, 5.0))
    assert len(set(means[:, 0].round(9))) > 3


def test_resampled_means_agree_with_drawing_by_hand() -> None:
    values = np.array([[3.0], [1.0], [4.0], [1.0], [5.0]])
    generator = np.random.default_rng(7)
    by_hand = [sum(values[place, 0] for place in generator.integers(5, size=5)) / 5 for _ in range(30)]
    assert resampled_means(values, 30, seed=7)[:, 0] == pytest.approx(by_hand)


@pytest.mark.parametrize("case", [(0, 1), (1, 0)])
def test_resampled_means_refuse_nothing(case: tuple[int, int]) -> None:
    with pytest.raises(AssertionError):
        resampled_means(np.zeros((case[0], 1)), case[1], seed=0)


@PROPERTY
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_percentile_interval_agrees_with_the_standard_library(values: list[float]) -> None:
    cuts = statistics.quantiles(values, n=40, method="inclusive")
    assert percentile_interval(values) == pytest.approx((cuts[0], cuts[-1]), rel=1e-9, abs=1e-6)


def test_percentile_interval_of_one_value_is_that_value() -> None:
    assert percentile_interval([3.0]) == (3.0, 3.0)


def test_mean_intervals_are_the_bootstraps() -> None:
    values = np.random.default_rng(0).exponential(size=(40, 2))
    means = resampled_means(values, 100, seed=3)
    assert mean_intervals(values, 100, seed=3) == [percentile_interval(means[:, 0]), percentile_interval(means[:, 1])]


def test_mean_intervals_of_many_are_what_the_bootstrap_gives() -> None:
    skewed = np.random.default_rng(0).exponential(size=(NORMAL_FROM, 1)) ** 2
    normal, bootstrap = mean_intervals(skewed, 1, seed=0)[0], percentile_interval(resampled_means(skewed, 1000, 0))
    assert normal == pytest.approx(bootstrap, abs=0.06 * (normal[1] - normal[0]))
