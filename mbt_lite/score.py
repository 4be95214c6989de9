"""Score predictions made elsewhere: `mbt-lite score PREDICTIONS --questions FILE`.

Predictions are joined with questions by id and read one by one; only their scores are kept. As the official scorers do,
a question without a prediction counts as wrong, unless it is to be skipped. A prediction for a question that the file
does not have is left out; both are counted and named. A prediction that stands twice is an error: nobody can know which
one counts.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mbt_lite.data.answer_keys import read_answer_keys
from mbt_lite.data.predictions import Given, iter_predictions
from mbt_lite.endpoint.reading import CUT_OFF, STOPPED
from mbt_lite.errors import DataError
from mbt_lite.metrics.aggregate import PHASE_METRICS, aggregate
from mbt_lite.metrics.breakdown import break_down
from mbt_lite.metrics.predictions import score_answer, score_completion
from mbt_lite.metrics.repeated import aggregate_at_k
from mbt_lite.records import Completion, FinishReason, Prediction, Question
from mbt_lite.text.completion import OTHER_THINK_OPEN, THINK_CLOSE, THINK_OPEN

_ANSWER_METRICS = ("exact_match", "f1", "substring_match", "answered")
_TRACE_METRICS = (
    "answer_hit", "answer_inclusive_error", "answer_exclusive_error", "first_mention", "words_after_mention",
    "repeated_4grams", "trace_words",
)  # fmt: skip
_NO_PHASES = "no prediction says its `phases`, and only the traces of a run tell how to read them"
_ENDING_METRICS = ("stopped", "degenerate")
_LENGTH_METRICS = ("completion_tokens",)
ENDINGS: dict[str, FinishReason] = {**dict.fromkeys(STOPPED, "stop"), **dict.fromkeys(CUT_OFF, "length")}

_VARIANT = "predictions"
_N_NAMED = 5


@dataclasses.dataclass(slots=True)
class Tags:
    """How many texts there are, open a trace, close one that they did not open; and other models' tags in them."""

    texts: int = 0
    opened: int = 0
    closed_alone: int = 0
    others: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def add(self, text: str) -> None:
        """Count a text."""
        self.texts += 1
        self.opened += THINK_OPEN in text.partition(THINK_CLOSE)[0]
        self.closed_alone += _closes_alone(text)
        self.others.update({tag[0] for tag in OTHER_THINK_OPEN.finditer(text)} - {THINK_OPEN})

    @property
    def tell_prefilled(self) -> bool:
        """Whether the template opened the trace for certain: most texts close one, and none opens one."""
        return not self.opened and 2 * self.closed_alone > self.texts


@dataclasses.dataclass(slots=True)
class Sheet:
    """What was read: the scored predictions, in all and by what their records say; ids and endings that are unknown."""

    rows: list[Prediction] = dataclasses.field(default_factory=list)
    with_text: list[Prediction] = dataclasses.field(default_factory=list)
    with_ending: list[Prediction] = dataclasses.field(default_factory=list)
    with_length: list[Prediction] = dataclasses.field(default_factory=list)
    unknown: list[str] = dataclasses.field(default_factory=list)
    endings: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


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

    Trace metrics are over the records that have a `text`, if any text shows a trace; `stopped` and `degenerate` over
    those whose `finish_reason` is known, length over those with `completion_tokens`; phases are counted where a record
    gives its own. `notes` say what was left out and what looks wrong. Raises DataError where a file cannot be read, no
    id joins, or a prediction stands twice.
    """
    keys = read_answer_keys(questions, layout, aliases)
    tags = _look_at_tags(predictions)
    is_prefilled = prefilled_think or tags.tell_prefilled
    sheet = _read_sheet(predictions, keys, prefilled_think=is_prefilled)
    if not sheet.rows:
        raise DataError(
            f"{predictions}: no prediction is for a question of {questions} (got ids such as "
            f"{', '.join(sheet.unknown[:_N_NAMED]) or 'none'}); name the file with these questions"
        )
    there = {row.question_id for row in sheet.rows}
    missing = [question_id for question_id in keys if question_id not in there]
    given = collections.Counter(row.question_id for row in sheet.rows)
    # as many empty completions as the others have: at_k counts them, too
    least = min(given.values())
    unsaid = [_nothing(keys[question_id], index) for question_id in missing for index in range(least)]
    counted = sheet.rows if skip_missing else [*sheet.rows, *unsaid]
    drawing: dict[str, Any] = {"samples": samples, "seed": seed}
    answers = aggregate(counted, **drawing, only=_ANSWER_METRICS)
    shows_traces = prefilled_think or tags.opened + tags.closed_alone > 0
    others = {
        name: estimate
        for rows, names in _parts(sheet, shows_traces)
        for name, estimate in aggregate(rows, **drawing, only=names, no_phases=_NO_PHASES)["metrics"].items()
    }
    return {
        "n_questions": answers["n_questions"],
        "n_predictions": len(sheet.rows),
        "missing": {"n": len(missing), "first": missing[:_N_NAMED], "counted_as_wrong": not skip_missing},
        "unknown": {"n": len(sheet.unknown), "first": sheet.unknown[:_N_NAMED]},
        "notes": [*_tag_notes(tags, asked=prefilled_think), *_ending_notes(sheet), *_count_notes(given)],
        "metrics": answers["metrics"] | others,
        **aggregate_at_k(counted, **drawing),
        "breakdown": break_down(counted, keys, **drawing, only=("exact_match", "f1")),
    }


def _parts(sheet: Sheet, shows_traces: bool) -> Iterator[tuple[list[Prediction], tuple[str, ...]]]:
    """Give the metrics, beside those of the answer, with the rows that have what they need."""
    has_phases = any(row.phases is not None for row in sheet.rows)
    if sheet.with_text and (shows_traces or has_phases):
        # what is undefined is said once
        yield sheet.with_text, (*_TRACE_METRICS, *(PHASE_METRICS if has_phases else PHASE_METRICS[:1]))
    elif has_phases:
        yield sheet.rows, PHASE_METRICS
    if sheet.with_ending:
        yield sheet.with_ending, _ENDING_METRICS
    if sheet.with_length:
        yield sheet.with_length, _LENGTH_METRICS


def _look_at_tags(path: Path) -> Tags:
    """Read the texts of a file for their tags alone: how one text is read depends on the others."""
    tags = Tags()
    for given in iter_predictions(path):
        if given.text is not None:
            tags.add(given.text)
    return tags


def _closes_alone(text: str) -> bool:
    """Tell whether a text closes a trace that it did not open."""
    before, closed, _ = text.partition(THINK_CLOSE)
    return bool(closed) and THINK_OPEN not in before


def _tag_notes(tags: Tags, *, asked: bool) -> Iterator[str]:
    """Say what the tags of the texts tell, where they do not look as they should."""
    n, alone, opened = tags.texts, tags.closed_alone, tags.opened
    if n and asked and not alone:
        yield (
            f"think: none of {n} texts closes a trace that the template opened, so none is read as intended; "
            "leave out --prefilled-think if the texts open their traces or have none"
        )
    elif asked and opened:
        yield f"think: {opened} of {n} texts open a trace themselves although --prefilled-think says the template did"
    elif tags.tell_prefilled and not asked:
        yield (
            f"think: {alone} of {n} texts close a trace and none opens one: all are read as begun inside it, as with "
            f"--prefilled-think; what stands in the {n - alone} that never close it is no answer"
        )
    elif alone and not asked:
        yield (
            f"think: {alone} of {n} texts close a trace that they did not open: they are read as begun inside it; "
            f"{n - alone - opened} show no trace: if the template opened theirs too, use --prefilled-think"
        )
    elif n and not opened and not asked:
        yield (
            f"think: none of {n} texts shows a trace, so figures of traces are left out; "
            "if a server split the reasoning off, put <think>reasoning</think> before each text"
        )
    if tags.others and not opened and not alone:
        found = ", ".join(f"{tag} in {count}" for tag, count in tags.others.most_common())
        yield f"think: texts open a trace in other words ({found}); write {THINK_OPEN} and {THINK_CLOSE} for them"


def _ending_notes(sheet: Sheet) -> Iterator[str]:
    """Say how many predictions do not tell whether they stopped by themselves."""
    silent = len(sheet.rows) - len(sheet.with_ending) - sheet.endings.total()
    fate = "left out of stopped and degenerate"
    if sheet.endings:
        said = ", ".join(f"{word} {count}" for word, count in sheet.endings.most_common())
        yield f"endings: {sheet.endings.total()} predictions end neither by stop nor by length ({said}), {fate}"
    if silent and (sheet.with_ending or sheet.endings):
        yield f"endings: {silent} predictions do not say how they ended, {fate}"


def _count_notes(given: Mapping[str, int]) -> Iterator[str]:
    """Say where some questions have fewer predictions than others: figures at k are of what all have."""
    least, most = min(given.values()), max(given.values())
    if least < most:
        fewer = [question_id for question_id, count in given.items() if count < most]
        fate = f"end at k = {least}" if least > 1 else "are left out"
        yield (
            f"completions: {len(fewer)} of {len(given)} questions have fewer than {most} predictions (the least is "
            f"{least}), so figures at k {fate} ({_named({'n': len(fewer), 'first': fewer[:_N_NAMED]})})"
        )


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
        _enter(sheet, given, _score(given, keys[given.question_id], prefilled_think))
    if twice:
        more = [f"{path}: ... and {len(twice) - _N_NAMED} more"] if len(twice) > _N_NAMED else []
        cure = "delete one, or number the completions of a question with rollout_index"
        raise DataError("\n".join([*(f"{line}; {cure}" for line in twice[:_N_NAMED]), *more]))
    return sheet


def _enter(sheet: Sheet, given: Given, scored: Prediction) -> None:
    """Put a scored prediction where its record belongs."""
    sheet.rows.append(scored)
    if given.text is not None:
        sheet.with_text.append(scored)
    if given.finish_reason in ENDINGS:
        sheet.with_ending.append(scored)
    elif given.finish_reason is not None:
        sheet.endings[given.finish_reason] += 1
    if given.completion_tokens is not None:
        sheet.with_length.append(scored)


def _score(given: Given, question: Question, prefilled_think: bool) -> Prediction:
    """Score one prediction; what its record does not say is filled in, and no metric is taken of it later."""
    completion = Completion(
        question_id=question.question_id,
        rollout_index=given.rollout_index,
        text=given.text or "",
        finish_reason=ENDINGS.get(given.finish_reason or "stop", "stop"),
        prompt_tokens=0,
        completion_tokens=given.completion_tokens or 0,
    )
    prefilled_think |= _closes_alone(completion.text)
    if given.has_answer:
        scored = score_answer(question, completion, _VARIANT, given.answer, prefilled_think=prefilled_think)
    else:
        scored = score_completion(question, completion, _VARIANT, prefilled_think=prefilled_think)
    return dataclasses.replace(scored, text="", phases=given.phases)


def _nothing(question: Question, index: int) -> Prediction:
    completion = Completion(question.question_id, index, "", "stop", 0, 0)
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
    lines += scored["notes"]
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
    low, high = estimate["low"], estimate["high"]
    bounds = estimate["undefined_reason"] if low is None else f"[{low:.4f}, {high:.4f}]"
    return f"{name:<40} {estimate['mean']:10.4f}  {bounds}  n={estimate['n']}"
