"""95 % intervals of a mean over questions: Wilson's for shares, percentile bootstrap for everything else.

Sources: Wilson 1927; Efron's percentile bootstrap. The question is the unit that is drawn, since completions of one
question are not independent. Where every question's value is 0 or 1 the bootstrap fails just where it matters (0 of 96
would get an interval of zero width), so Wilson's interval is used there.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

Z_95 = 1.959963984540054


def wilson_interval(n_successes: int, n: int) -> tuple[float, float]:
    """Give Wilson's 95 % interval of a share.

    >>> low, high = wilson_interval(0, 96)
    >>> low, round(high, 4)
    (0.0, 0.0385)
    """
    assert 0 <= n_successes <= n, f"{n_successes} of {n}"
    assert n > 0, "no trials, no interval"
    share, z2 = n_successes / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At the ends the interval touches the share itself; rounding must not push it past.
    low = 0.0 if n_successes == 0 else centre - reach
    high = 1.0 if n_successes == n else centre + reach
    return low, high


def draws(n: int, samples: int, seed: int) -> list[list[int]]:
    """Draw `samples` resamples of n positions with replacement; the same seed gives the same draws."""
    assert n > 0, f"nothing to draw from (n {n})"
    assert samples > 0, f"samples {samples}"
    generator, positions = random.Random(seed), range(n)
    return [generator.choices(positions, k=n) for _ in range(samples)]


def percentile_interval(values: Sequence[float]) -> tuple[float, float]:
    """Give the 2.5th and the 97.5th percentile, interpolated between neighbours.

    >>> percentile_interval(range(101))
    (2.5, 97.5)
    """
    ordered = sorted(values)
    return _percentile(ordered, 0.025), _percentile(ordered, 0.975)


def _percentile(ordered: Sequence[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])
