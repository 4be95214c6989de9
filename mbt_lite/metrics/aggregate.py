"""From predictions to means: every number with its n and its 95 % interval, or with the reason why there is none.

A mean is over questions, of the mean over each question's completions. A measure may be undefined for a completion
(where does an answer first stand that never stands?): it is left out, and `n` counts the questions that have a value.
Intervals: intervals.py. AES takes exact match as its accuracy and resamples questions in pairs, the same ones for both
models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mbt_lite.errors import DataError
from mbt_lite.metrics.efficiency import accuracy_efficiency_score
from mbt_lite.metrics.intervals import Matrix, mean_intervals, percentile_interval, resampled_means, wilson_interval
from mbt_lite.metrics.traces import answer_exclusive_error, answer_inclusive_error, phase_coverage
from mbt_lite.records import Prediction
from mbt_lite.text.phases import PHASES

Measure = Callable[[Prediction], float | None]
Estimate = dict[str, Any]
# Drawn again and again it is always itself, which would look like certainty.
ONE_QUESTION = "no interval: it is of one question"
ByQuestion = Mapping[str, Sequence[Prediction]]


def _shows(phase: str) -> Measure:
    return lambda p: None if p.phases is None else any(span.phase == phase for span in p.phases)


def _first_mention(p: Prediction) -> float | None:
    return None if p.words_to_mention is None or not p.trace_words else p.words_to_mention / p.trace_words


def _words_after_mention(p: Prediction) -> float | None:
    return None if p.words_to_mention is None or not p.trace_words else p.trace_words - p.words_to_mention


METRICS: Mapping[str, Measure] = {
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
    "bridge_hit": lambda p: p.bridge_hit,
    "phase_coverage": lambda p: phase_coverage(p.phases),
    "first_mention": _first_mention,
    "words_after_mention": _words_after_mention,
    "repeated_4grams": lambda p: p.repeated_4grams,
    "trace_words": lambda p: p.trace_words,
    **{f"phase/{phase}": _shows(phase) for phase in PHASES},
}
PHASE_METRICS = ("phase_coverage", *(f"phase/{phase}" for phase in PHASES))
# Counts: their mean is no share, even where every value happens to be 0 or 1.
COUNTS = ("completion_tokens", "words_after_mention", "trace_words")
UNDEFINED_EVERYWHERE = {
    "bridge_hit": "no question has gold bridges",
    "first_mention": "no trace mentions a gold",
    "words_after_mention": "no trace mentions a gold",
    "repeated_4grams": "no completion has a trace",
    "trace_words": "no completion has a trace",
}


def aggregate(
    predictions: Sequence[Prediction],
    *,
    samples: int,
    seed: int,
    only: Iterable[str] | None = None,
    no_phases: str = "nothing read the phases",
) -> dict[str, Any]:
    """Give `n_questions`, `n_predictions` and, per metric, `mean low high n undefined_reason` (n counts questions).

    `predictions` are one variant's, in any order; `samples` resamples make a bootstrap interval; `only` names the
    metrics that are wanted; `no_phases` is why there may be no phases. Without predictions the means are None, with the
    reason. Raises DataError for mixed variants or a completion that is there twice.
    """
    questions = by_question(predictions)
    names = list(METRICS) if only is None else list(only)
    columns = {name: question_means(questions, METRICS[name]) for name in names}
    reasons = UNDEFINED_EVERYWHERE | dict.fromkeys(PHASE_METRICS, no_phases)
    return {
        "n_questions": len(questions),
        "n_predictions": len(predictions),
        "metrics": estimates(columns, samples=samples, seed=seed, counts=COUNTS, reasons=reasons),
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
    ours, base = by_question(predictions), by_question(base_predictions)
    refuse_different_questions(ours, base, "aes")
    if not ours:
        return undefined(0, "no predictions")
    accuracy, tokens = METRICS["exact_match"], METRICS["completion_tokens"]
    columns = [question_means(rows, measure) for rows in (ours, base) for measure in (accuracy, tokens)]
    values = np.array(columns, dtype=np.float64).T

    def aes(means: Sequence[float]) -> tuple[float | None, str | None]:
        ours_accuracy, ours_tokens, base_accuracy, base_tokens = map(float, means)
        found = accuracy_efficiency_score(
            tokens=ours_tokens, accuracy=ours_accuracy, base_tokens=base_tokens, base_accuracy=base_accuracy,
            alpha=alpha, beta=beta, gamma=gamma,
        )  # fmt: skip
        return found.value, found.undefined_reason

    mean, reason = aes([math.fsum(column) / len(ours) for column in values.T])
    if mean is None:
        return undefined(len(ours), str(reason))
    if len(ours) == 1:
        return without_interval(mean, 1, ONE_QUESTION)
    defined = [value for means in resampled_means(values, samples, seed) if (value := aes(means)[0]) is not None]
    if len(defined) < samples:
        gone = (
            f"no interval: undefined in {samples - len(defined)} of {samples} resamples, where base has nothing right"
        )
        return without_interval(mean, len(ours), gone)
    low, high = percentile_interval(defined)
    return {"mean": mean, "low": low, "high": high, "n": len(ours), "undefined_reason": None}


def by_question(predictions: Sequence[Prediction]) -> dict[str, list[Prediction]]:
    """Group one variant's predictions by question, ordered by id, so that their order cannot change a figure.

    Raises DataError for mixed variants or a completion that is there twice.
    """
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


def refuse_different_questions(ours: Mapping[str, object], base: Mapping[str, object], where: str) -> None:
    """Raise DataError unless two variants answered the same questions: only then can they be compared in pairs."""
    if ours.keys() != base.keys():
        raise DataError(
            f"{where}: variant and base answered different questions "
            f"(got {sorted(ours.keys() ^ base.keys())[:3]} in one only); score both on the same question file"
        )


def question_means(questions: ByQuestion, measure: Measure) -> list[float | None]:
    """Give the mean of each question's completions that have a value, None where none has."""
    means: list[float | None] = []
    for rows in questions.values():
        values = [value for row in rows if (value := measure(row)) is not None]
        means.append(math.fsum(values) / len(values) if values else None)
    return means


def estimates(
    columns: Mapping[str, Sequence[float | None]],
    *,
    samples: int,
    seed: int,
    counts: Iterable[str] = (),
    reasons: Mapping[str, str] | None = None,
) -> dict[str, Estimate]:
    """Give mean and interval of each column of per-question values; None in a column is a question without a value.

    `counts` names columns that are no shares, `reasons` why a column may have no value at all.
    """
    defined = {name: [value for value in column if value is not None] for name, column in columns.items()}
    bounds = _bootstrap({n: v for n, v in defined.items() if v and not _is_share(n, v, counts)}, samples, seed)
    found: dict[str, Estimate] = {}
    for name, values in defined.items():
        if not values:
            reason = (reasons or {}).get(name, "no predictions") if columns[name] else "no predictions"
            found[name] = undefined(0, reason)
            continue
        mean = math.fsum(values) / len(values)
        if len(values) == 1 and name in bounds:
            found[name] = without_interval(mean, 1, ONE_QUESTION)
            continue
        low, high = bounds[name] if name in bounds else wilson_interval(round(sum(values)), len(values))
        found[name] = {"mean": mean, "low": low, "high": high, "n": len(values), "undefined_reason": None}
    return found


def _is_share(name: str, values: Sequence[float], counts: Iterable[str]) -> bool:
    return name not in tuple(counts) and all(value in (0.0, 1.0) for value in values)


def _bootstrap(columns: Mapping[str, Sequence[float]], samples: int, seed: int) -> dict[str, tuple[float, float]]:
    """Give the interval of each column; columns of one length share their draws."""
    bounds: dict[str, tuple[float, float]] = {}
    for length in sorted({len(values) for values in columns.values()}):
        names = [name for name, values in columns.items() if len(values) == length]
        values: Matrix = np.array([columns[name] for name in names], dtype=np.float64).T
        bounds |= dict(zip(names, mean_intervals(values, samples, seed), strict=True))
    return bounds


def undefined(n: int, reason: str) -> Estimate:
    """Give the estimate that is none, with the reason."""
    return {"mean": None, "low": None, "high": None, "n": n, "undefined_reason": reason}


def without_interval(mean: float, n: int, reason: str) -> Estimate:
    """Give the estimate whose interval is unknown, with the reason."""
    return undefined(n, reason) | {"mean": mean}
