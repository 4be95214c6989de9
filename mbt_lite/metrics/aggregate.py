"""From predictions to means: every number with its n and its 95 % interval, or with the reason why there is none.

A mean is over questions, of the mean over each question's completions. Intervals: intervals.py. AES takes exact match
as its accuracy and resamples questions in pairs, the same ones for both models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mbt_lite.errors import DataError
from mbt_lite.metrics.efficiency import accuracy_efficiency_score
from mbt_lite.metrics.intervals import draws, percentile_interval, wilson_interval
from mbt_lite.metrics.traces import answer_exclusive_error, answer_inclusive_error
from mbt_lite.records import Prediction

METRICS: Mapping[str, Callable[[Prediction], float]] = {
    "exact_match": lambda p: p.exact_match,
    "f1": lambda p: p.f1,
    "substring_match": lambda p: p.substring_match,
    "answered": lambda p: p.answered,
    "stopped": lambda p: p.stopped,
    "degenerate": lambda p: p.degenerate,
    "completion_tokens": lambda p: p.completion_tokens,
    "answer_inclusive_error": lambda p: answer_inclusive_error(p.exact_match, p.answer_hit),
    "answer_exclusive_error": lambda p: answer_exclusive_error(p.exact_match, p.answer_hit),
    "answer_hit": lambda p: p.answer_hit,
}

Estimate = dict[str, Any]


def aggregate(predictions: Sequence[Prediction], *, samples: int, seed: int) -> dict[str, Any]:
    """Give `n_questions`, `n_predictions` and, per metric, `mean low high n undefined_reason` (n counts questions).

    `predictions` are one variant's, in any order; `samples` resamples make a bootstrap interval. Without predictions
    the means are None, with the reason. Raises DataError for mixed variants or a completion that is there twice.
    """
    questions = _by_question(predictions)
    resamples = draws(len(questions), samples, seed) if questions else []
    return {
        "n_questions": len(questions),
        "n_predictions": len(predictions),
        "metrics": {name: _estimate(name, _means(questions, measure), resamples) for name, measure in METRICS.items()},
    }


def aggregate_aes(
    predictions: Sequence[Prediction],
    base_predictions: Sequence[Prediction],
    *,
    alpha: float = 1.0,
    beta: float = 3.0,
    gamma: float = 5.0,
    samples: int,
    seed: int,
) -> Estimate:
    """Give the AES of a variant against base: `mean` (of the point estimates), `low`, `high`, `n`, `undefined_reason`.

    Undefined, with the reason, where base has no exact match; the interval alone is left out where some resamples have
    none. Raises DataError if the two did not answer the same questions.
    """
    ours, base = _by_question(predictions), _by_question(base_predictions)
    if ours.keys() != base.keys():
        raise DataError(
            "aes: variant and base answered different questions "
            f"(got {sorted(ours.keys() ^ base.keys())[:3]} in one only); score both on the same question file"
        )
    if not ours:
        return _undefined(0, "no predictions")
    accuracy, tokens = METRICS["exact_match"], METRICS["completion_tokens"]
    columns = [_means(rows, measure) for rows in (ours, base) for measure in (accuracy, tokens)]

    def aes(positions: Sequence[int]) -> tuple[float | None, str | None]:
        ours_accuracy, ours_tokens, base_accuracy, base_tokens = (_mean_at(column, positions) for column in columns)
        found = accuracy_efficiency_score(
            tokens=ours_tokens, accuracy=ours_accuracy, base_tokens=base_tokens, base_accuracy=base_accuracy,
            alpha=alpha, beta=beta, gamma=gamma,
        )  # fmt: skip
        return found.value, found.undefined_reason

    mean, reason = aes(range(len(ours)))
    if mean is None:
        return _undefined(len(ours), str(reason))
    resampled = [aes(draw)[0] for draw in draws(len(ours), samples, seed)]
    defined = [value for value in resampled if value is not None]
    if len(defined) < samples:
        gone = (
            f"no interval: undefined in {samples - len(defined)} of {samples} resamples, where base has nothing right"
        )
        return {"mean": mean, "low": None, "high": None, "n": len(ours), "undefined_reason": gone}
    low, high = percentile_interval(defined)
    return {"mean": mean, "low": low, "high": high, "n": len(ours), "undefined_reason": None}


def _by_question(predictions: Sequence[Prediction]) -> dict[str, list[Prediction]]:
    """Group one variant's predictions by question, ordered by id, so that their order cannot change a figure."""
    variants = sorted({prediction.variant for prediction in predictions})
    if len(variants) > 1:
        raise DataError(f"predictions: several variants in one mean (got {variants}); aggregate them one by one")
    seen: set[tuple[str, int]] = set()
    grouped: dict[str, list[Prediction]] = {}
    for prediction in sorted(predictions, key=lambda p: (p.question_id, p.rollout_index)):
        key = (prediction.question_id, prediction.rollout_index)
        if key in seen:
            raise DataError(f"predictions: a completion is there twice (got {key}); delete one of the lines")
        seen.add(key)
        grouped.setdefault(prediction.question_id, []).append(prediction)
    return grouped


def _means(questions: Mapping[str, Sequence[Prediction]], measure: Callable[[Prediction], float]) -> list[float]:
    return [math.fsum(map(measure, rows)) / len(rows) for rows in questions.values()]


def _estimate(name: str, values: Sequence[float], resamples: Sequence[Sequence[int]]) -> Estimate:
    """Give mean and interval of per-question values [questions]."""
    if not values:
        return _undefined(0, "no predictions")
    mean = math.fsum(values) / len(values)
    if name != "completion_tokens" and all(value in (0.0, 1.0) for value in values):
        low, high = wilson_interval(round(sum(values)), len(values))
    else:
        low, high = percentile_interval([_mean_at(values, draw) for draw in resamples])
    return {"mean": mean, "low": low, "high": high, "n": len(values), "undefined_reason": None}


def _mean_at(values: Sequence[float], positions: Sequence[int]) -> float:
    return sum([values[position] for position in positions]) / len(positions)


def _undefined(n: int, reason: str) -> Estimate:
    return {"mean": None, "low": None, "high": None, "n": n, "undefined_reason": reason}
