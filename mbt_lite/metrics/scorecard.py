"""All of a run's variants to their `metrics.json`: the means of each, and what can only be said against another.

::

    {"variant": "sft", "n_questions": 72, "n_predictions": 72,
     "metrics":   {"exact_match": {"mean", "low", "high", "n", "undefined_reason"}, ...},
     "samples_per_question": 1, "at_k": {"pass@4": {...}, ...},
     "breakdown": {"tier": {"easy": {"n_questions", "n_predictions", "metrics"}, ...}, ...},
     "paired":    {"base": {"n", "metrics": {"exact_match": {"difference", "low", "high", "p"}, ...}, "mcnemar"}, ...},
     "aes":       {"mean", "low", "high", "n", "undefined_reason", "against", "alpha", "beta", "gamma"},
     "judged":    what `judged.py` gives, null without a judge,
     "foresight": what `foresight.py` gives, null without forecasts,
     "spans":     {"has_steps": {...}, "spans": {...}, "right_spans": {...}}, null where steps are not asked for,
     "phases":    how well their reader reads what it has not seen: {"accuracy", "unread", "n_paragraphs", "n_traces"},
                  and "undefined_reason" where there is none,
     "same_texts_as": [variants before it that wrote the very same texts],
     "left_out":  [{"question_id", "reason"}, ...],
     "calibration": what `confidences.py` gives for each reading, there with `eval.confidence` only,
     "without_evidence": what it gives of that, there with `eval.without_evidence` only,
     "in_train":  how many of the dev questions train has: {"n", "n_by_id_alone", "of", "said"}}

`paired` has every variant before this one; `aes` is null for the variant that the others are compared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mbt_lite.metrics.aggregate import Estimate, aggregate, aggregate_aes, undefined
from mbt_lite.metrics.breakdown import break_down
from mbt_lite.metrics.paired import compare
from mbt_lite.metrics.repeated import aggregate_at_k
from mbt_lite.metrics.spans import count_spans
from mbt_lite.recipe.schema import Eval
from mbt_lite.records import Prediction, Question

# Resamples for the 95 % intervals, and for the tests between variants.
BOOTSTRAP_SAMPLES = 2000
# What the others are compared with by AES, and the weights of length saved, accuracy won and accuracy lost.
BASE = "base"
_AES_WEIGHTS: dict[str, Any] = {"alpha": 1.0, "beta": 3.0, "gamma": 5.0}

Predictions = Mapping[str, Sequence[Prediction]]


def scorecards(
    predictions: Predictions,
    questions: Mapping[str, Question],
    settings: Eval,
    *,
    phases: Mapping[str, Any],
    judged: Mapping[str, Mapping[str, Any]] | None = None,
    left_out: Iterable[Mapping[str, str]] = (),
    in_train: Mapping[str, Any] | None = None,
    foresight: Mapping[str, Mapping[str, Any]] | None = None,
    more: Mapping[str, Mapping[str, Any]] | None = None,
    prefilled_think: bool = False,
) -> dict[str, dict[str, Any]]:
    """Give variant -> the content of its metrics.json, in the order of `predictions`; all hold `phases` and `in_train`.

    `more` has blocks that are there where they were asked for alone.

    Raises DataError where variants did not answer the same questions.
    """
    drawing: dict[str, Any] = {"samples": BOOTSTRAP_SAMPLES, "seed": settings.seed}
    cards: dict[str, dict[str, Any]] = {}
    for variant, rows in predictions.items():
        cards[variant] = {
            "variant": variant,
            **aggregate(rows, **drawing, no_phases=phases["undefined_reason"] or "no predictions"),
            **aggregate_at_k(rows, **drawing),
            "breakdown": break_down(rows, questions, **drawing),
            "paired": {other: compare(rows, predictions[other], **drawing) for other in cards},
            "aes": _aes(variant, predictions, drawing),
            "judged": None if judged is None else dict(judged[variant]),
            "foresight": None if foresight is None else dict(foresight[variant]),
            "spans": count_spans(rows, questions, prefilled_think=prefilled_think, **drawing),
            "phases": dict(phases),
            "same_texts_as": [other for other in cards if _are_same(rows, predictions[other])],
            "left_out": list(left_out),
            "in_train": None if in_train is None else dict(in_train),
            **({} if more is None else more[variant]),
        }
    return cards


def _are_same(rows: Sequence[Prediction], others: Sequence[Prediction]) -> bool:
    """Tell whether several completions are those of another variant, word for word."""
    texts, theirs = ({(one.question_id, one.rollout_index): one.text for one in many} for many in (rows, others))
    return len(texts) > 1 and texts == theirs


def _aes(variant: str, predictions: Predictions, drawing: dict[str, Any]) -> Estimate | None:
    """Give the AES with what it was computed from; None for the base itself, whose score is 0 by definition."""
    if variant == BASE:
        return None
    if BASE in predictions:
        found = aggregate_aes(predictions[variant], predictions[BASE], **_AES_WEIGHTS, **drawing)
    else:
        found = undefined(0, f"variant {BASE} was not evaluated, so there is nothing to compare with")
    return {**found, "against": BASE, **_AES_WEIGHTS}
