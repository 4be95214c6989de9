"""The arithmetic that the fast forms share, on NumPy arrays and on torch tensors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.rewards.advantages import group_advantages
from mbt_lite.rewards.counts import COUNT_NAMES, Counts, to_advantages, to_rewards, to_terms
from mbt_lite.rewards.law import TERM_NAMES, RewardLimits, Terms, total
from mbt_lite.rewards.terms import length_term


def as_array(values: list[float]) -> Any:
    return np.array(values, np.float64)


def as_tensor(values: list[float]) -> Any:
    torch = pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    return torch.tensor(values, dtype=torch.float64)


KINDS = pytest.mark.parametrize("made", [as_array, as_tensor])
LIMITS = RewardLimits(max_completion_tokens=100, verification_words=3, overlong_buffer_tokens=20)
# right and dwelling, lost, cut off and empty
ROWS = {
    "tokens": [90.0, 80.0, 0.0],
    "stopped": [1.0, 1.0, 0.0],
    "well_formed": [1.0, 1.0, 0.0],
    "exact": [1.0, 0.0, 0.0],
    "shared_words": [2.0, 1.0, 0.0],
    "both_words": [4.0, 5.0, 1.0],
    "trace_words": [20.0, 9.0, 0.0],
    "mention_words": [7.0, 4.0, 0.0],
    "repeated_ngrams": [0.0, 3.0, 0.0],
}


@KINDS
def test_to_terms_by_hand(made: Callable[[list[float]], Any]) -> None:
    assert tuple(ROWS) == COUNT_NAMES
    terms = to_terms(Counts(**{name: made(values) for name, values in ROWS.items()}), LIMITS)
    rows = [Terms(*row) for row in zip(*(term.tolist() for term in terms.values()), strict=True)]
    assert rows == [
        Terms(1.0, 1.0, 1.0, 0.0, -10 / 20, 0.0, -0.5),
        Terms(0.4, 0.0, 1.0, -1.0, 0.0, -0.5, 0.0),
        Terms(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0),
    ]


@KINDS
@pytest.mark.parametrize("buffer", [0, 1, 20, 200])
def test_to_terms_gives_the_laws_length(buffer: int, made: Callable[[list[float]], Any]) -> None:
    tokens = list(range(0, 106))
    ones = made([1.0] * len(tokens))
    limits = RewardLimits(max_completion_tokens=100, verification_words=0, overlong_buffer_tokens=buffer)
    counts = Counts(**dict.fromkeys(COUNT_NAMES, ones) | {"tokens": made(list(map(float, tokens)))})
    wanted = [
        length_term(count, stopped=True, max_completion_tokens=100, overlong_buffer_tokens=buffer) for count in tokens
    ]
    assert to_terms(counts, limits)["length"].tolist() == wanted


@KINDS
def test_to_rewards_weighs_as_the_law_does(made: Callable[[list[float]], Any]) -> None:
    values = [0.5, 1.0, 1.0, -1.0, -0.25, -0.5, -0.75]
    terms = {name: made([value]) for name, value in zip(TERM_NAMES, values, strict=True)}
    weights = {name: 10.0**power for power, name in enumerate(TERM_NAMES)}
    for some in (weights, {"keep": 0.3}, {}):
        assert to_rewards(terms, some).tolist() == [total(Terms(*values), some)]


REWARDS = st.sampled_from([0.0, 1e-7, 0.3, 1.0, 1.25, -2.0])


@settings(deadline=None, max_examples=200)
@given(
    st.integers(2, 8),
    st.lists(st.sampled_from([0.0, 1e-7, 0.3, 1.0, 1.25, -2.0]), min_size=24, max_size=24),
    st.booleans(),
)
def test_to_advantages_gives_those_of_the_law(group_size: int, rewards: list[float], scale: bool) -> None:
    rewards = rewards[: len(rewards) // group_size * group_size]
    wanted = group_advantages(rewards, group_size, scale)
    for made in (as_array, as_tensor):
        advantages, zero_variance = to_advantages(made(rewards), group_size, scale)
        assert zero_variance.tolist() == list(wanted.zero_variance)
        assert advantages.tolist() == pytest.approx(wanted.values, abs=1e-9)


@KINDS
def test_to_advantages_of_equal_rewards_are_exact_zeros(made: Callable[[list[float]], Any]) -> None:
    advantages, zero_variance = to_advantages(made([0.1, 0.1, 0.1, 0.0, 0.1, 0.1]), 3)
    assert advantages.tolist()[:3] == [0.0, 0.0, 0.0]
    assert zero_variance.tolist() == [True, False]
