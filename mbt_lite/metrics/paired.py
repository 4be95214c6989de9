"""Is the difference between two variants noise? By pairs of questions: bootstrap interval, permutation test, McNemar.

Sources: Efron's paired bootstrap; Fisher's randomisation test with random signs (Noreen 1989), p = (1 + as extreme) /
(1 + samples), so that it is never 0; McNemar's test in its exact binomial form. The p-values are two-sided and of one
comparison each: whoever looks at many must ask more of each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mbt_lite.metrics.aggregate import METRICS, by_question, question_means, refuse_different_questions
from mbt_lite.metrics.intervals import Matrix, percentile_interval, resampled_means
from mbt_lite.records import Prediction

COMPARED = (
    "exact_match", "f1", "completion_tokens", "answer_inclusive_error", "answer_exclusive_error", "degenerate",
    "phase_coverage",
)  # fmt: skip
# Sums of the same numbers in another order differ in their last bits.
ROUNDING = 1e-12


def compare(
    predictions: Sequence[Prediction], against: Sequence[Prediction], *, samples: int, seed: int
) -> dict[str, Any]:
    """Compare a variant with another on the same questions.

    Gives `n` (questions), per metric the `difference` of the means with `low`, `high` and `p`, and `mcnemar` (None with
    several completions a question: there is no one answer to be right or wrong). A metric that one of the two has no
    value of is left out. Raises DataError if the two did not answer the same questions.
    """
    ours, theirs = by_question(predictions), by_question(against)
    refuse_different_questions(ours, theirs, "comparison")
    if not ours:
        return {"n": 0, "metrics": {}, "mcnemar": None}
    columns = {name: found for name in COMPARED if (found := _differences(ours, theirs, name))}
    is_single = all(len(rows) == 1 for questions in (ours, theirs) for rows in questions.values())
    right = [
        (ours[question_id][0].exact_match, theirs[question_id][0].exact_match) for question_id in ours if is_single
    ]
    return {
        "n": len(ours),
        "metrics": paired_differences(columns, samples=samples, seed=seed),
        "mcnemar": mcnemar(right) if is_single else None,
    }


def _differences(
    ours: Mapping[str, Sequence[Prediction]], theirs: Mapping[str, Sequence[Prediction]], name: str
) -> list[float]:
    means = [question_means(questions, METRICS[name]) for questions in (ours, theirs)]
    pairs = zip(*means, strict=True)
    return [a - b for a, b in pairs if a is not None and b is not None]


def paired_differences(
    columns: Mapping[str, Sequence[float]], *, samples: int, seed: int
) -> dict[str, dict[str, float | None]]:
    """Give mean difference, 95 % interval and p of per-question differences, all of one length.

    Where no question differs, or there is one alone, there is nothing to draw from: no interval, and p is 1.
    """
    values: Matrix = np.array(list(columns.values()), dtype=np.float64).T
    means = values.mean(axis=0)
    resampled = resampled_means(values, samples, seed)
    as_extreme = np.abs(_sign_flipped_means(values, samples, seed)) >= np.abs(means) - ROUNDING
    found: dict[str, dict[str, float | None]] = {}
    for place, name in enumerate(columns):
        if not values[:, place].any():
            found[name] = {"difference": 0.0, "low": None, "high": None, "p": 1.0}
            continue
        low, high = percentile_interval(resampled[:, place]) if len(values) > 1 else (None, None)
        p = (1 + int(as_extreme[:, place].sum())) / (1 + samples)
        found[name] = {"difference": float(means[place]), "low": low, "high": high, "p": p}
    return found


def _sign_flipped_means(values: Matrix, samples: int, seed: int) -> Matrix:
    """Give the means under the hypothesis of no difference: each question's sign is a coin's."""
    generator = np.random.default_rng(seed)
    means = np.empty((samples, values.shape[1]))
    for sample in range(samples):
        signs = 2.0 * generator.integers(2, size=len(values)) - 1.0
        means[sample] = signs @ values / len(values)
    return means


def mcnemar(pairs: Sequence[tuple[int, int]]) -> dict[str, float | int]:
    """Give McNemar's exact test of (ours, theirs) right or wrong: `won`, `lost` and the two-sided p.

    >>> mcnemar([(1, 0)] * 5 + [(1, 1)] * 3)
    {'won': 5, 'lost': 0, 'p': 0.0625}
    """
    won = sum(ours > theirs for ours, theirs in pairs)
    lost = sum(ours < theirs for ours, theirs in pairs)
    differing = won + lost
    tail = sum(math.comb(differing, i) for i in range(min(won, lost) + 1))
    # integers first: two to the power of thousands is no float
    p = min(1.0, 2 * tail / 2**differing) if differing else 1.0
    return {"won": won, "lost": lost, "p": p}
