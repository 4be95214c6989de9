import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.rewards.advantages import group_advantages

PROPERTY = settings(deadline=None, max_examples=200)
REWARDS = st.floats(-5, 5, allow_nan=False).map(lambda value: round(value, 4))
BATCHES = st.integers(2, 6).flatmap(
    lambda size: st.tuples(
        st.just(size), st.lists(st.lists(REWARDS, min_size=size, max_size=size), min_size=1, max_size=4)
    )
)


def test_group_advantages_by_hand() -> None:
    # mean 0.5, sample standard deviation sqrt(1/3) = 0.577350
    found = group_advantages([0.0, 1.0, 0.0, 1.0], group_size=4)
    unit = 0.5 / (math.sqrt(1 / 3) + 1e-4)
    assert found.values == pytest.approx((-unit, unit, -unit, unit), abs=1e-12)
    assert found.zero_variance == (False,)


def test_group_advantages_without_scale_by_hand() -> None:
    found = group_advantages([1.0, 0.0, 0.0, 3.0, 3.0, 3.0], group_size=3, scale=False)
    assert found.values == pytest.approx((2 / 3, -1 / 3, -1 / 3, 0, 0, 0), abs=1e-12)
    assert found.zero_variance == (False, True)


@pytest.mark.parametrize(
    ("difference", "is_zero"),
    [
        pytest.param(0.0, True, id="equal"),
        pytest.param(9e-7, True, id="rounding noise"),
        pytest.param(2e-6, False, id="a real difference"),
    ],
)
def test_group_advantages_flags_groups_without_spread(difference: float, is_zero: bool) -> None:
    found = group_advantages([0.0, difference], group_size=2)
    assert found.zero_variance == (is_zero,)
    assert (found.values == (0.0, 0.0)) is is_zero


@PROPERTY
@given(BATCHES, st.booleans())
def test_group_advantages_agrees_with_the_formula_written_out(batch, scale: bool) -> None:
    size, groups = batch
    expected: list[float] = []
    for group in groups:
        mean = sum(group) / size
        std = math.sqrt(sum((reward - mean) ** 2 for reward in group) / (size - 1))
        equal = max(group) - min(group) < 1e-6
        expected += [0.0 if equal else (reward - mean) / (std + 1e-4 if scale else 1.0) for reward in group]
    found = group_advantages([reward for group in groups for reward in group], size, scale)
    assert found.values == pytest.approx(expected, abs=1e-9)


@PROPERTY
@given(BATCHES, st.booleans(), st.floats(-3, 3))
def test_group_advantages_sum_to_zero_keep_order_and_ignore_a_shift(batch, scale: bool, shift: float) -> None:
    size, groups = batch
    flat = [reward for group in groups for reward in group]
    values = group_advantages(flat, size, scale).values
    shifted = group_advantages([reward + shift for reward in flat], size, scale).values
    assert shifted == pytest.approx(values, abs=1e-6)
    for start in range(0, len(flat), size):
        group, own = flat[start : start + size], values[start : start + size]
        assert sum(own) == pytest.approx(0, abs=1e-9)
        assert all(own[i] <= own[j] for i in range(size) for j in range(size) if group[i] <= group[j])


@pytest.mark.parametrize(
    ("rewards", "group_size", "message"),
    [
        pytest.param([1.0, 2.0, 3.0], 2, "no whole groups", id="half a group"),
        pytest.param([1.0], 1, "two completions", id="groups of one"),
        pytest.param([1.0, math.nan], 2, "finite", id="nan"),
    ],
)
def test_group_advantages_refuses_what_cannot_be_compared(rewards, group_size: int, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        group_advantages(rewards, group_size)


def test_group_advantages_spread_is_the_one_of_torch() -> None:
    numpy = pytest.importorskip("numpy")
    rewards = [0.1, 0.7, 0.4, 1.0]
    scaled, centred = group_advantages(rewards, 4).values, group_advantages(rewards, 4, scale=False).values
    # torch.std divides by n - 1 unless told otherwise: ddof 1
    assert scaled == pytest.approx([value / (numpy.std(rewards, ddof=1) + 1e-4) for value in centred], abs=1e-12)
