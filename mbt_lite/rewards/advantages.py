"""Advantages within a group: how much better a completion did than its siblings on the same prompt.

Source: GRPO (arXiv 2402.03300); without scaling, Dr. GRPO (arXiv 2503.20783). Where we differ:

1. The spread is the sample standard deviation (n - 1), as TRL computes it, not the population's.
2. A group whose rewards are equal gets exact zeros and is flagged, instead of rounding noise divided by a small number.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

STD_EPSILON = 1e-4
EQUAL_BELOW = 1e-6


@dataclasses.dataclass(frozen=True, slots=True)
class GroupAdvantages:
    """Advantages in the order of the rewards [B], and a flag per group [P]: True where all rewards were equal."""

    values: tuple[float, ...]
    zero_variance: tuple[bool, ...]


def group_advantages(rewards: Sequence[float], group_size: int, scale: bool = True) -> GroupAdvantages:
    """Give (reward - mean) / (std + 1e-4) within each group of `group_size` neighbours; without `scale`, reward - mean.

    A group whose largest and smallest reward differ by less than 1e-6 gets zeros.

    Shapes: rewards [B = P·G] -> values [B], zero_variance [P]

    >>> group_advantages([0.0, 1.0, 0.5, 0.5], group_size=2, scale=False)
    GroupAdvantages(values=(-0.5, 0.5, 0.0, 0.0), zero_variance=(False, True))
    """
    assert group_size >= 2, f"a group needs two completions to compare (got {group_size})"
    assert len(rewards) % group_size == 0, f"{len(rewards)} rewards are no whole groups of {group_size}"
    assert all(map(math.isfinite, rewards)), f"rewards must be finite (got {list(rewards)})"
    values: list[float] = []
    zero_variance: list[bool] = []
    for start in range(0, len(rewards), group_size):
        group = rewards[start : start + group_size]
        equal = max(group) - min(group) < EQUAL_BELOW
        zero_variance.append(equal)
        values.extend([0.0] * group_size if equal else _centred(group, scale))
    return GroupAdvantages(tuple(values), tuple(zero_variance))


def _centred(group: Sequence[float], scale: bool) -> list[float]:
    mean = math.fsum(group) / len(group)
    divisor = statistics.stdev(group) + STD_EPSILON if scale else 1.0
    return [(reward - mean) / divisor for reward in group]
