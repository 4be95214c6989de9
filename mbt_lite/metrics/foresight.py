"""How well a student foresees its own answers: one forecast a question beside its completions (arXiv 2510.03259).

Beside every figure stands what the best constant forecast earns on the same questions, chosen knowing how they end, and
beside the links that are gold bridges what naming all titles would find. Rates are of the completions that were scored:
with one a question they are 0 or 1.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mbt_lite.metrics.aggregate import Estimate, estimates, undefined, without_interval
from mbt_lite.metrics.calibration import auroc
from mbt_lite.records import Completion, Prediction, Question
from mbt_lite.rewards.meta import (
    TRIES,
    Forecast,
    RateLaw,
    Solved,
    best_constant,
    possible_link,
    read_forecast,
    solved,
    titles,
    truth,
)
from mbt_lite.text.completion import parse_completion
from mbt_lite.text.normalize import normalize

_ALIKE = "all questions alike: none is solved at least half the time, or all are"


def foresight(
    questions: Mapping[str, Question],
    predictions: Sequence[Prediction],
    forecasts: Mapping[str, Completion],
    *,
    tolerance: float,
    law: RateLaw,
    prefilled_think: bool,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Give `metrics` (as `aggregate`), `reliability` (n and share right by foretold rate), `bridges_are_titles`."""
    ended: dict[str, list[tuple[str | None, bool, int]]] = {}
    for row in predictions:
        trace = parse_completion(row.text, prefilled_think=prefilled_think).trace
        is_right = bool(row.exact_match and row.stopped)
        ended.setdefault(row.question_id, []).append((trace, is_right, row.completion_tokens))
    found = {question_id: solved(rows) for question_id, rows in ended.items()}
    told = {question_id: _read(forecasts[question_id], prefilled_think) for question_id in found}
    truths = [
        truth(told[question_id], one, questions[question_id], tolerance=tolerance, law=law)
        for question_id, one in found.items()
    ]
    bridges = [_bridges(told[question_id].links, questions[question_id]) for question_id in found]
    columns: dict[str, list[float | None]] = {
        "parsed": [float(None not in dataclasses.astuple(told[question_id])) for question_id in found],
        **{name: [float(getattr(one, name)) for one in truths] for name in ("links", "tokens", "rate", "total")},
        **{name: [one[name] for one in bridges] for name in ("bridge_precision", "bridge_recall", "bridge_chance")},
    }
    reasons = dict.fromkeys(bridges[0] if bridges else (), "no question has gold bridges")
    if any(one["bridge_recall"] is not None for one in bridges):
        reasons["bridge_precision"] = "no forecast of a question with gold bridges names anything"
    metrics = estimates(columns, samples=samples, seed=seed, reasons=reasons)
    pairs = [(told[question_id].right_of_8, one.rate) for question_id, one in found.items()]
    known = [(right, rate) for right, rate in pairs if right is not None]
    metrics["auroc"] = auroc(
        [right for right, _ in known],
        [rate >= 0.5 for _, rate in known],
        samples,
        seed,
        one_class=_ALIKE if known else "no forecast tells a rate",
    )
    metrics |= _constant([(questions[question_id], one) for question_id, one in found.items()], tolerance, law)
    return {
        "metrics": metrics,
        "reliability": [
            {"right_of_8": right, "n": len(rates), "rate": math.fsum(rates) / len(rates)}
            for right in range(TRIES + 1)
            if (rates := [rate for said, rate in known if said == right])
        ],
        "bridges_are_titles": any(questions[question_id].bridges_are_titles for question_id in found),
    }


def _read(completion: Completion, prefilled_think: bool) -> Forecast:
    if completion.finish_reason != "stop":
        return Forecast()
    return read_forecast(completion.text, prefilled_think=prefilled_think)


def _bridges(links: Sequence[str] | None, question: Question) -> dict[str, float | None]:
    """Hold links against gold bridges, as sets of normalised names; None where there is nothing to divide by."""
    wanted = {normalize(name) for name in question.bridges if possible_link(name, question)}
    if not wanted:
        return dict.fromkeys(("bridge_precision", "bridge_recall", "bridge_chance"))
    named, titled = (set(map(normalize, some)) for some in (links or (), titles(question)))
    return {
        "bridge_precision": len(named & wanted) / len(named) if named else None,
        "bridge_recall": len(named & wanted) / len(wanted),
        "bridge_chance": len(titled & wanted) / len(titled) if titled else None,
    }


def _constant(pairs: Sequence[tuple[Question, Solved]], tolerance: float, law: RateLaw) -> dict[str, Estimate]:
    names = ("links", "tokens", "rate", "total")
    if not pairs:
        return {f"constant_{name}": undefined(0, "no predictions") for name in names}
    earned = best_constant(pairs, tolerance=tolerance, law=law).earned
    return {
        f"constant_{name}": without_interval(
            float(getattr(earned, name)), len(pairs), "no interval: it is the best in hindsight"
        )
        for name in names
    }
