"""How sure a variant is, read in up to four ways, and how well each foretells what it gets right.

::

    {"stated": {"metrics": {"ece": {"mean", "low", "high", "n", "undefined_reason"}, "ece_if_perfect": ..., ...},
                "missing": completions without a reading, "elsewhere": how many of them state one elsewhere,
                "bins": [{"from", "n", "confidence", "right"}, ...],
                "risk_coverage": [{"coverage", "risk"}, ...]},
     "answer_probability": ..., "agreement": ..., "steps": the same of steps, without "risk_coverage"}

`stated`: the last line of the trace. `answer_probability`: of the answer's tokens. `agreement`: the share of a
question's completions with the same answer. Right is an exact match. n counts completions that have a reading, of wrong
or answered ones where the figure is of those. `steps`: the probability of each step's tokens; a step is right if it is
a gold bridge, and n counts steps.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mbt_lite.metrics import calibration
from mbt_lite.metrics.aggregate import Estimate, estimates, undefined, without_interval
from mbt_lite.metrics.answers import voting_form
from mbt_lite.records import Prediction, Question, StepConfidences
from mbt_lite.text.completion import parse_completion
from mbt_lite.text.confidence import mentions_confidence, read_confidence
from mbt_lite.text.normalize import normalize

# question id and index of the completion
Readings = Mapping[tuple[str, int], float | None]
# question id, confidence, right
_Row = tuple[str, float, int]
# Below, a student that may leave a question would.
LEAST_SURE = 0.5
COVERAGES = (0.5, 0.8)
_CURVE_POINTS = 20
UNKNOWN = "unknown"
_NO_INTERVAL = "no interval: it is one figure of all rows"


def stated_confidences(predictions: Sequence[Prediction], *, prefilled_think: bool) -> Readings:
    """Read what completions state, 0..1; a trace that was never closed states nothing: its last line may be cut."""
    found: dict[tuple[str, int], float | None] = {}
    for row in predictions:
        parsed = parse_completion(row.text, prefilled_think=prefilled_think)
        stated = read_confidence(parsed.trace) if parsed.think_closed else None
        found[row.question_id, row.rollout_index] = None if stated is None else stated / 100
    return found


def stated_elsewhere(predictions: Sequence[Prediction], stated: Readings) -> int:
    """Count completions that state a confidence, but in another form or place than was asked for."""
    return sum(
        stated[row.question_id, row.rollout_index] is None and mentions_confidence(row.text) for row in predictions
    )


def agreement(predictions: Sequence[Prediction]) -> Readings:
    """Give the share of a question's completions with the answer of each; None where it has none."""
    forms = {
        (row.question_id, row.rollout_index): None if row.answer is None else voting_form(row.answer, row.golds)
        for row in predictions
    }
    sizes = collections.Counter(question_id for question_id, _ in forms)
    votes = collections.Counter((question_id, form) for (question_id, _), form in forms.items())
    return {
        key: None if form is None else votes[key[0], form] / sizes[key[0]] for key, form in forms.items()
    }  # fmt: skip


def calibrations(
    predictions: Sequence[Prediction], readings: Mapping[str, Readings], *, samples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Give each reading's figures; agreement joins them where questions have several completions."""
    if len({row.question_id for row in predictions}) < len(predictions):
        readings = {**readings, "agreement": agreement(predictions)}
    found = dict[str, dict[str, Any]]()
    for name, sure in readings.items():
        told = [(row, sure[row.question_id, row.rollout_index]) for row in predictions]
        rows = [(row.question_id, one, row.exact_match) for row, one in told if one is not None]
        found[name] = _calibrated(rows, len(told) - len(rows), samples, seed)
        if rows:
            found[name]["metrics"] |= _if_left_out(rows)
            found[name]["risk_coverage"] = _risk_coverage(rows)
    return found


def calibrated_steps(
    predictions: Sequence[Prediction],
    steps: Mapping[tuple[str, int], StepConfidences],
    *,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Give the figures of all steps that could be bridges; a completion without any is missing."""
    told = [steps.get((row.question_id, row.rollout_index)) for row in predictions]
    rows = [
        (one.question_id, sure, int(right))
        for one in told
        if one is not None
        for sure, right in zip(one.confidences, one.right, strict=True)
    ]
    return _calibrated(rows, sum(one is None or not one.confidences for one in told), samples, seed)


def _if_left_out(rows: Sequence[_Row]) -> dict[str, Estimate]:
    """Give what leaving unsure answers out would do."""
    sure, right = [one for _, one, _ in rows], [one for *_, one in rows]
    risks, kept = calibration.risk_coverage(sure, right), calibration.abstain(sure, right, LEAST_SURE)
    return {
        "aurc": _figure(math.fsum(risks) / len(risks), len(rows)),
        **{f"accuracy_at_{q}": _figure(calibration.accuracy_at_coverage(risks, q), len(rows)) for q in COVERAGES},
        "answered_if_sure": _figure(kept["answered"], len(rows)),
        "accuracy_if_sure": _figure(kept["accuracy"], sum(one >= LEAST_SURE for one in sure)),
        "wrong_if_sure": _figure(kept["wrong_and_answered"], len(rows)),
    }


def _risk_coverage(rows: Sequence[_Row]) -> list[dict[str, float]]:
    risks = calibration.risk_coverage([one for _, one, _ in rows], [one for *_, one in rows])
    return [
        {"coverage": step / _CURVE_POINTS, "risk": 1 - calibration.accuracy_at_coverage(risks, step / _CURVE_POINTS)}
        for step in range(1, _CURVE_POINTS + 1)
    ]


def _calibrated(rows: Sequence[_Row], missing: int, samples: int, seed: int) -> dict[str, Any]:
    known: dict[str, Any] = {"missing": missing, "bins": [], "risk_coverage": []}
    if not rows:
        return known | {"metrics": {name: undefined(0, "no completion has a reading") for name in ("ece", "auroc")}}
    sure, right = [one for _, one, _ in rows], [one for *_, one in rows]
    known["bins"] = calibration.bins(sure, right)
    rate = sum(right) / len(right)
    plain = {
        "ece": (calibration.expected_calibration_error(sure, right), len(rows)),
        "ece_if_perfect": (calibration.null_calibration_error(sure, seed), len(rows)),
        "brier_of_base_rate": (rate * (1 - rate), len(rows)),
        "overconfident": (calibration.overconfident(sure, right), len(right) - sum(right)),
    }
    squares = collections.defaultdict[str, list[float]](list)
    for question_id, one, is_right in rows:
        squares[question_id].append((one - is_right) ** 2)
    means: list[float | None] = [math.fsum(of_one) / len(of_one) for of_one in squares.values()]
    spread = estimates({"brier": means}, samples=samples, seed=seed, counts=["brier"])["brier"]
    known["metrics"] = {
        **{name: _figure(value, n) for name, (value, n) in plain.items()},
        # the mean of all rows, the interval over questions
        "brier": spread | {"mean": calibration.brier(sure, right), "n": len(rows)},
        "auroc": calibration.auroc(
            sure,
            list(map(bool, right)),
            samples,
            seed,
            units=[question_id for question_id, *_ in rows],
            one_class="all are right, or all are wrong",
        ),
    }
    return known


def _figure(value: float | None, n: int) -> Estimate:
    return without_interval(value, n, _NO_INTERVAL) if value is not None else undefined(0, "there are no such rows")


def without_evidence(
    questions: Iterable[Question],
    with_it: Sequence[Prediction],
    without: Sequence[Prediction],
    readings: Mapping[str, tuple[Readings, Readings]],
    *,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Compare answers with and without supporting documents: share `unknown`, and mean confidence by each reading.

    `readings` holds those of both. Gives `metrics` (`X_with`, `X_without`, `X_difference`, over the questions that have
    both), and `left_out`: how many questions were not asked without, by the reason.
    """
    rows = (_by_question(with_it), _by_question(without))
    asked = list(rows[1])
    values: dict[str, tuple[Readings, Readings]] = {"unknown": (_unknowns(with_it), _unknowns(without)), **readings}
    columns: dict[str, list[float | None]] = {}
    for name, both in values.items():
        means = [[_mean(side[one], found) for one in asked] for side, found in zip(rows, both, strict=True)]
        pairs = [pair if None not in pair else (None, None) for pair in zip(*means, strict=True)]
        columns[f"{name}_with"], columns[f"{name}_without"] = ([pair[side] for pair in pairs] for side in (0, 1))
        columns[f"{name}_difference"] = [None if before is None else after - before for before, after in pairs]
    differences = [name for name in columns if name.endswith("_difference")]
    unread = dict.fromkeys(columns, "no question has a reading both with and without")
    reasons = collections.Counter(why for one in questions if (why := why_no_evidence(one)) is not None)
    return {
        "metrics": estimates(columns, samples=samples, seed=seed, counts=differences, reasons=unread),
        "left_out": dict(reasons),
    }


def why_no_evidence(question: Question) -> str | None:
    """Say why a question cannot be asked without its supporting documents; None if it can."""
    if not any(document.is_supporting for document in question.documents):
        return "no document is known to support it"
    return "all its documents support it" if all(one.is_supporting for one in question.documents) else None


def _by_question(predictions: Sequence[Prediction]) -> dict[str, list[tuple[str, int]]]:
    grouped: dict[str, list[tuple[str, int]]] = {}
    for row in predictions:
        grouped.setdefault(row.question_id, []).append((row.question_id, row.rollout_index))
    return grouped


def _unknowns(predictions: Sequence[Prediction]) -> Readings:
    return {
        (row.question_id, row.rollout_index): float(row.answer is not None and normalize(row.answer) == UNKNOWN)
        for row in predictions
    }


def _mean(keys: Sequence[tuple[str, int]], readings: Readings) -> float | None:
    values = [one for key in keys if (one := readings[key]) is not None]
    return math.fsum(values) / len(values) if values else None
