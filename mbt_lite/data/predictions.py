"""Predictions made elsewhere, one by one, in whatever shape the benchmarks' own tools write them.

::

    JSONL or array  {"question_id" | "_id" | "id": "...", "answer" | "predicted_answer": "..." or null,
                     "text": "<think>...</think><answer>...</answer>", "rollout_index": 0, "finish_reason": "stop",
                     "completion_tokens": 120, "phases": [{"phase": "plan", "start": 7, "end": 64}, ...]}
                                                   an id, and an answer or a text; the rest if it is there
    JSON object     {"answer": {"<id>": "...", ...}, ...}     HotpotQA's and 2Wiki's official files
                    {"<id>": "...", ...}                      SQuAD's
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mbt_lite.data.stream import iter_records, read_object
from mbt_lite.data.wrapped import IDS
from mbt_lite.errors import DataError
from mbt_lite.layouts.fields import field, names, of_type, optional
from mbt_lite.records import PhaseSpan, read_phase_spans

_ANSWERS = ("answer", "predicted_answer")


@dataclasses.dataclass(frozen=True, slots=True)
class Given:
    """One prediction as it was given; what the file does not say is None.

    `answer` is the final answer if `has_answer`, else it is to be read from `text`; None then means that there is none.
    """

    where: str
    question_id: str
    rollout_index: int
    has_answer: bool
    answer: str | None
    text: str | None
    finish_reason: str | None
    completion_tokens: int | None
    phases: tuple[PhaseSpan, ...] | None


def iter_predictions(path: Path) -> Iterator[Given]:
    """Give the predictions of a file in its order; DataError at the first record that is none."""
    official = _official(read_object(path))
    if official is not None:
        for question_id, answer in official.items():
            where = f"{path}: answer of {question_id}"
            answer = None if answer is None else of_type(answer, str, where)
            yield Given(where, question_id, 0, True, answer, None, None, None, None)
        return
    for where, record in iter_records(path):
        yield _read_row(of_type(record, dict, f"{where}: record"), where)


def _read_row(row: Mapping[str, Any], where: str) -> Given:
    id_name = next((name for name in IDS if name in row), None)
    answer_name = next((name for name in _ANSWERS if name in row), None)
    text = optional(row, "text", str, where)
    if id_name is None:
        raise DataError(f"{where}: no id (got {names(row)}); add one of {', '.join(IDS)}")
    if answer_name is None and text is None:
        raise DataError(f"{where}: no prediction (got {names(row)}); add one of {', '.join(_ANSWERS)}, text")
    rollout_index = optional(row, "rollout_index", int, where)
    return Given(
        where=where,
        question_id=field(row, id_name, str, where),
        rollout_index=0 if rollout_index is None else rollout_index,
        has_answer=answer_name is not None,
        answer=optional(row, answer_name, str, where) if answer_name else None,
        text=text,
        finish_reason=_ending(row.get("finish_reason")),
        completion_tokens=optional(row, "completion_tokens", int, where),
        phases=None if row.get("phases") is None else read_phase_spans(row["phases"], where),
    )


def _ending(said: Any) -> str | None:
    """Give how a server says that its reply ended, in small letters; SGLang says it in an object."""
    word = said.get("type") if isinstance(said, Mapping) else said
    return None if word is None else str(word).strip().lower() or None


def _official(one: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Give the answers by id of an official file's object; None for every other file."""
    if one is None or any(name in one for name in IDS):
        return None
    if type(one.get("answer")) is dict:
        return dict(one["answer"])
    is_record = any(name in one for name in (*_ANSWERS, "text"))
    return one if one and not is_record and all(type(value) is str or value is None for value in one.values()) else None
