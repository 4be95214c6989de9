"""Score predictions made elsewhere: `mbt-lite score PREDICTIONS --questions FILE`.

Predictions are joined with questions by id and read one by one; only their scores are kept. As the official scorers do,
a question without a prediction counts as wrong, unless it is to be skipped. A prediction for a question that the file
does not have is left out; both are counted and named. A prediction that stands twice is an error: nobody can know which
one counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mbt_lite.data.answer_keys import read_answer_keys
from mbt_lite.data.predictions import Given, iter_predictions
from mbt_lite.errors import DataError
from mbt_lite.metrics.aggregate import PHASE_METRICS, aggregate
from mbt_lite.metrics.breakdown import break_down
from mbt_lite.metrics.predictions import score_answer, score_completion
from mbt_lite.metrics.repeated import aggregate_at_k
from mbt_lite.records import Completion, FinishReason, Prediction, Question

_ANSWER_METRICS = ("exact_match", "f1", "substring_match", "answered")
_TRACE_METRICS = (
    "answer_hit", "answer_inclusive_error", "answer_exclusive_error", "first_mention", "words_after_mention",
    "repeated_4grams", "trace_words",
)  # fmt: skip
_NO_PHASES = "no prediction says its `phases`, and only the traces of a run tell how to read them"
_ENDING_METRICS = ("stopped", "degenerate")
_LENGTH_METRICS = ("completion_tokens",)
ENDINGS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}

_VARIANT = "predictions"
_N_NAMED = 5


@dataclasses.dataclass(slots=True)
class Sheet:
    """What was read: one scored prediction per line, and which parts every line had."""

    rows: list[Prediction] = dataclasses.field(default_factory=list)
    unknown: list[str] = dataclasses.field(default_factory=list)
    all_have_text: bool = True
    all_have_ending: bool = True
    all_have_length: bool = True


def score_file(
    predictions: Path,
    questions: Path,
    *,
    layout: str = "auto",
    aliases: Path | None = None,
    skip_missing: bool = False,
    prefilled_think: bool = False,
    samples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Score a file of predictions: the metrics that its records allow, with intervals, and what did not join.

    Trace metrics need a `text` in every record, `stopped` and `degenerate` a `finish_reason`, length
    `completion_tokens`; phases are counted where a record gives its own. Raises DataError where a file
    cannot be read, no id joins, or a prediction stands twice.
    """
    keys = read_answer_keys(questions, layout, aliases)
    sheet = _read_sheet(predictions, keys, prefilled_think=prefilled_think)
    if not sheet.rows:
        raise DataError(
            f"{predictions}: no prediction is for a question of {questions} (got ids such as "
            f"{', '.join(sheet.unknown[:_N_NAMED]) or 'none'}); name the file with these questions"
        )
    there = {row.question_id for row in sheet.rows}
    missing = [question_id for question_id in keys if question_id not in there]
    counted = sheet.rows if skip_missing else [*sheet.rows, *(_nothing(keys[question_id]) for question_id in missing)]
    drawing: dict[str, Any] = {"samples": samples, "seed": seed}
    answers = aggregate(counted, **drawing, only=_ANSWER_METRICS)
    others = aggregate(sheet.rows, **drawing, only=_others(sheet), no_phases=_NO_PHASES)
    return {
        "n_questions": answers["n_questions"],
        "n_predictions": len(sheet.rows),
        "missing": {"n": len(missing), "first": missing[:_N_NAMED], "counted_as_wrong": not skip_missing},
        "unknown": {"n": len(sheet.unknown), "first": sheet.unknown[:_N_NAMED]},
        "metrics": answers["metrics"] | others["metrics"],
        **aggregate_at_k(sheet.rows, **drawing),
        "breakdown": break_down(counted, keys, **drawing, only=("exact_match", "f1")),
    }


def _others(sheet: Sheet) -> list[str]:
    """Name the metrics, beside those of the answer, for which every record has what they need."""
    names = list(_TRACE_METRICS) if sheet.all_have_text else []
    has_phases = any(row.phases is not None for row in sheet.rows)
    # what is undefined is said once
    names += PHASE_METRICS if has_phases else PHASE_METRICS[:1] if sheet.all_have_text else ()
    names += _ENDING_METRICS if sheet.all_have_ending else ()
    return [*names, *(_LENGTH_METRICS if sheet.all_have_length else ())]


def _read_sheet(path: Path, keys: Mapping[str, Question], *, prefilled_think: bool) -> Sheet:
    """Score the predictions of a file one by one; the texts are not kept."""
    sheet = Sheet()
    seen: set[tuple[str, int]] = set()
    twice: list[str] = []
    for given in iter_predictions(path):
        place = (given.question_id, given.rollout_index)
        if place in seen:
            twice.append(f"{given.where}: a prediction stands twice (got {place[0]!r}, rollout_index {place[1]})")
            continue
        seen.add(place)
        if given.question_id not in keys:
            sheet.unknown.append(given.question_id)
            continue
        sheet.all_have_text &= given.text is not None
        sheet.all_have_ending &= given.finish_reason is not None
        sheet.all_have_length &= given.completion_tokens is not None
        sheet.rows.append(_score(given, keys[given.question_id], prefilled_think))
    if twice:
        more = [f"{path}: ... and {len(twice) - _N_NAMED} more"] if len(twice) > _N_NAMED else []
        cure = "delete one, or number the completions of a question with rollout_index"
        raise DataError("\n".join([*(f"{line}; {cure}" for line in twice[:_N_NAMED]), *more]))
    return sheet


def _score(given: Given, question: Question, prefilled_think: bool) -> Prediction:
    """Score one prediction; what its record does not say is filled in and its metrics are left out later."""
    ending = given.finish_reason or "stop"
    if ending not in ENDINGS:
        raise DataError(f"{given.where}: unknown finish_reason (got {ending!r}); write one of {', '.join(ENDINGS)}")
    completion = Completion(
        question_id=question.question_id,
        rollout_index=given.rollout_index,
        text=given.text or "",
        finish_reason=ENDINGS[ending],
        prompt_tokens=0,
        completion_tokens=given.completion_tokens or 0,
    )
    if given.has_answer:
        scored = score_answer(question, completion, _VARIANT, given.answer, prefilled_think=prefilled_think)
    else:
        scored = score_completion(question, completion, _VARIANT, prefilled_think=prefilled_think)
    return dataclasses.replace(scored, text="", phases=given.phases)


def _nothing(question: Question) -> Prediction:
    completion = Completion(question.question_id, 0, "", "stop", 0, 0)
    return score_answer(question, completion, _VARIANT, None)


def report_lines(scored: Mapping[str, Any]) -> list[str]:
    """Write the scores for people: what did not join first, then a metric a line."""
    missing, unknown = scored["missing"], scored["unknown"]
    lines = [f"{scored['n_predictions']} predictions, {scored['n_questions']} questions scored"]
    if missing["n"]:
        fate = "count as wrong" if missing["counted_as_wrong"] else "are left out"
        lines.append(f"missing: {missing['n']} questions have no prediction and {fate} ({_named(missing)})")
    if unknown["n"]:
        lines.append(
            f"unknown: {unknown['n']} predictions are for no question of the file, left out ({_named(unknown)})"
        )
    lines += [_line(name, estimate) for name, estimate in (scored["metrics"] | scored["at_k"]).items()]
    for grouping, groups in scored["breakdown"].items():
        for group, found in groups.items():
            lines.append(_line(f"exact_match, {grouping} {group}", found["metrics"]["exact_match"]))
    return lines


def _named(counted: Mapping[str, Any]) -> str:
    more = ", ..." if counted["n"] > len(counted["first"]) else ""
    return ", ".join(counted["first"]) + more


def _line(name: str, estimate: Mapping[str, Any]) -> str:
    if estimate["mean"] is None:
        return f"{name:<40} undefined: {estimate['undefined_reason']}"
    return f"{name:<40} {estimate['mean']:10.4f}  [{estimate['low']:.4f}, {estimate['high']:.4f}]  n={estimate['n']}"
