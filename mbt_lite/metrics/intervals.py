"""95 % intervals of a mean over questions: Wilson's for shares, percentile bootstrap for everything else.

Sources: Wilson 1927; Efron's percentile bootstrap. The question is the unit that is drawn, since completions of one
question are not independent. Where every question's value is 0 or 1 the bootstrap fails just where it matters (0 of 96
would get an interval of zero width), so Wilson's interval is used there. From 10,000 questions on the normal interval
is what the bootstrap would give, and takes no time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054
NORMAL_FROM = 10_000

Matrix = NDArray[np.float64]


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


def resampled_means(values: Matrix, samples: int, seed: int) -> Matrix:
    """Draw the rows with replacement, all columns together, and give the columns' means, `samples` times.

    The same seed and number of rows draw the same rows. Shapes: values [questions, columns] -> [samples, columns]
    """
    n = len(values)
    assert n > 0, "nothing to draw from"
    assert samples > 0, f"samples {samples}"
    generator = np.random.default_rng(seed)
    means = np.empty((samples, values.shape[1]))
    for sample in range(samples):
        times_drawn = np.bincount(generator.integers(n, size=n), minlength=n).astype(np.float64)
        means[sample] = times_drawn @ values / n
    return means


def percentile_interval(values: Sequence[float] | Matrix) -> tuple[float, float]:
    """Give the 2.5th and the 97.5th percentile, interpolated between neighbours.

    >>> percentile_interval(range(101))
    (2.5, 97.5)
    """
    low, high = np.quantile(np.asarray(values, dtype=np.float64), [0.025, 0.975])
    return float(low), float(high)


def mean_intervals(values: Matrix, samples: int, seed: int) -> list[tuple[float, float]]:
    """Give the 95 % interval of each column's mean: bootstrap over the rows, the normal one where there are many.

    Shapes: values [questions, columns]
    """
    if len(values) >= NORMAL_FROM:
        centres, reaches = values.mean(axis=0), Z_95 * values.std(axis=0, ddof=1) / math.sqrt(len(values))
        return [(float(c - r), float(c + r)) for c, r in zip(centres, reaches, strict=True)]
    means = resampled_means(values, samples, seed)
    return [percentile_interval(means[:, column]) for column in range(values.shape[1])]
