"""How well confidences, 0..1, foretell which answers are right: pure functions over two sequences of equal length.

Sources: ECE of 10 equal bins (arXiv 1706.04599); Brier 1950; AURC (arXiv 1805.08206); pool adjacent violators for
`isotonic`. An ECE says little alone: few rows make a large one out of perfect confidences. So `null_calibration_error`
stands beside it wherever it is shown.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbt_lite.metrics.aggregate import Estimate, undefined, without_interval
from mbt_lite.metrics.intervals import percentile_interval

N_BINS = 10
# Simulated outcomes of confidences that are perfect.
_NULL_SAMPLES = 1000
# One unit, no overlap at all, or one constant: the bootstrap would take that for certain.
_SAME_IN_ALL = "no interval: whichever rows are drawn, it is the same"


def bin_of(confidence: float) -> int:
    """Give the bin of a confidence, 0..9: equal bins, closed on the left, the last one on both sides.

    >>> [bin_of(one) for one in (0.0, 0.1, 0.57, 1.0)]
    [0, 1, 5, 9]
    """
    assert 0 <= confidence <= 1, confidence
    # of whole per cents, n // 10 to the letter: 10 * (n / 100) rounds to a tenth that is not below n / 10
    return min(int(N_BINS * confidence), N_BINS - 1)


def expected_calibration_error(confidences: Sequence[float], rights: Sequence[int]) -> float:
    """Give the mean distance, over rows, of a bin's mean confidence to its share right.

    >>> expected_calibration_error([1, 1, 1, 0, 0], [1, 1, 0, 0, 1])
    0.4
    """
    return float(_errors(confidences, np.array([rights], dtype=np.float64))[0])


def null_calibration_error(confidences: Sequence[float], seed: int) -> float:
    """Give the ECE to expect of these very confidences if they were perfect: each row is right as often as it says."""
    drawn = np.random.default_rng(seed).random((_NULL_SAMPLES, len(confidences)))
    return float(_errors(confidences, (drawn < np.array(confidences)).astype(np.float64)).mean())


def _errors(confidences: Sequence[float], rights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the ECE of each of several outcomes. Shapes: rights [outcomes, rows] -> [outcomes]."""
    n = len(confidences)
    assert n == rights.shape[1] > 0, (n, rights.shape)
    is_in = np.zeros((n, N_BINS))
    is_in[np.arange(n), list(map(bin_of, confidences))] = 1
    totals: NDArray[np.float64] = np.abs((rights - np.array(confidences)) @ is_in).sum(axis=1)
    return totals / n


def bins(confidences: Sequence[float], rights: Sequence[int]) -> list[dict[str, float]]:
    """Give `from`, `n`, mean `confidence` and share `right` of each bin that has rows: the reliability diagram."""
    rows = sorted(zip(map(bin_of, confidences), confidences, rights, strict=True))
    return [
        {
            "from": number / N_BINS,
            "n": len(held),
            "confidence": math.fsum(one for _, one, _ in held) / len(held),
            "right": sum(right for *_, right in held) / len(held),
        }
        for number, group in itertools.groupby(rows, key=lambda row: row[0])
        for held in [list(group)]
    ]


def brier(confidences: Sequence[float], rights: Sequence[int]) -> float:
    """Give the mean squared distance of confidence to outcome; a constant base rate p earns p (1 - p).

    >>> brier([1, 1, 1, 0, 0], [1, 1, 0, 0, 1])
    0.4
    """
    return math.fsum((one - right) ** 2 for one, right in zip(confidences, rights, strict=True)) / len(rights)


def auroc(
    scores: Sequence[float],
    labels: Sequence[bool],
    samples: int,
    seed: int,
    *,
    units: Sequence[object] | None = None,
    one_class: str = "all rows alike: none is true, or all are",
) -> Estimate:
    """Give the chance that a true one scores above a false one, ties half, with its bootstrap interval if it has width.

    `units` names what is drawn with all its rows (the question of each); None draws rows. `one_class` is the reason
    where there is nothing to tell apart.

    >>> round(auroc([1, 1, 1, 0, 0], [True, True, False, False, True], 10, 0)["mean"], 6)
    0.583333
    """
    truths, n = np.array(labels, dtype=bool), len(scores)
    if truths.all() or not truths.any():
        return undefined(n, one_class)
    levels = np.unique(np.array(scores, dtype=np.float64), return_inverse=True)[1]
    unit_of = np.unique(range(n) if units is None else list(map(str, units)), return_inverse=True)[1]
    n_units = int(unit_of.max()) + 1

    def area(weights: NDArray[Any]) -> float | None:
        true, false = (np.bincount(levels, weights * side) for side in (truths, ~truths))
        total = true.sum() * false.sum()
        return float(true @ (np.cumsum(false) - false / 2) / total) if total else None

    whole = area(np.ones(n))
    assert whole is not None, n
    generator = np.random.default_rng(seed)
    drawn = (np.bincount(generator.integers(n_units, size=n_units), minlength=n_units) for _ in range(samples))
    low, high = percentile_interval([one for times in drawn if (one := area(times[unit_of])) is not None])
    if low == high:
        return without_interval(whole, n, _SAME_IN_ALL)
    return {"mean": whole, "low": low, "high": high, "n": n, "undefined_reason": None}


def overconfident(confidences: Sequence[float], rights: Sequence[int], at_least: float = 0.8) -> float | None:
    """Give the share of wrong rows that are sure; None without wrong ones."""
    wrong = [one for one, right in zip(confidences, rights, strict=True) if not right]
    return sum(one >= at_least for one in wrong) / len(wrong) if wrong else None


def risk_coverage(confidences: Sequence[float], rights: Sequence[int]) -> list[float]:
    """Give the share wrong of the surest 1, 2, ... n rows; rows equally sure keep their order. The mean is the AURC.

    >>> risk_coverage([0.2, 0.9, 0.6], [1, 1, 0])
    [0.0, 0.5, 0.3333333333333333]
    """
    ranked = sorted(zip(confidences, rights, strict=True), key=lambda row: -row[0])
    wrong = itertools.accumulate(1 - right for _, right in ranked)
    return [total / k for k, total in enumerate(wrong, 1)]


def accuracy_at_coverage(risks: Sequence[float], coverage: float) -> float:
    """Give the share right of the surest rows, so many of all, rounded up; `risks` are of `risk_coverage`."""
    assert 0 < coverage <= 1, coverage
    # the rounding keeps 0.7 * 10 rows from becoming 8
    return 1 - risks[math.ceil(round(coverage * len(risks), 9)) - 1]


def abstain(confidences: Sequence[float], rights: Sequence[int], below: float) -> dict[str, float | None]:
    """Give what answering only the rows sure enough would do: shares `answered`, right of those, wrong of all."""
    kept = [right for one, right in zip(confidences, rights, strict=True) if one >= below]
    return {
        "below": below,
        "answered": len(kept) / len(rights),
        "accuracy": sum(kept) / len(kept) if kept else None,
        "wrong_and_answered": (len(kept) - sum(kept)) / len(rights),
    }


def isotonic(scores: Sequence[float], rights: Sequence[float]) -> list[float]:
    """Fit rights by a function that never falls as the score grows; gives its value for each row, in their order.

    >>> isotonic([1.0, 0.5, 0.7], [1, 1, 0])
    [1.0, 0.5, 0.5]
    """
    by_score: dict[float, list[float]] = {}
    for score, right in zip(scores, rights, strict=True):
        by_score.setdefault(score, []).append(right)
    # blocks of neighbouring scores: their total, their rows, the scores
    blocks: list[tuple[float, int, list[float]]] = []
    for score, held in sorted(by_score.items()):
        blocks.append((math.fsum(held), len(held), [score]))
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            (low, n_low, first), (high, n_high, second) = blocks[-2:]
            blocks[-2:] = [(low + high, n_low + n_high, first + second)]
    fitted = {score: total / n for total, n, held_scores in blocks for score in held_scores}
    return [fitted[score] for score in scores]
