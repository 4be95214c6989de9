"""Predictions made elsewhere, one by one, in whatever shape the benchmarks' own tools write them.

::

    JSONL or array  {"question_id" | "_id" | "id": "...", "answer" | "predicted_answer": "..." or null,
                     "text": "<think>...</think><answer>...</answer>", "rollout_index": 0, "finish_reason": "stop",
                     "completion_tokens": 120, "phases": [{"phase": "plan", "start": 7, "end": 64}, ...]}
                                                   an id, and an answer or a text; the rest if it is there
    JSON object     {"answer": {"<id>": "...", ...}, ...}     HotpotQA's and 2Wiki's official files
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mbt_lite.data.stream import iter_records
from mbt_lite.errors import DataError
from mbt_lite.files import parse_json
from mbt_lite.layouts.fields import field, of_type, optional
from mbt_lite.records import PhaseSpan, read_phase_spans

_IDS = ("question_id", "_id", "id")
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
    official = _read_official(path)
    if official is not None:
        for question_id, answer in official.items():
            where = f"{path}: answer of {question_id}"
            answer = None if answer is None else of_type(answer, str, where)
            yield Given(where, question_id, 0, True, answer, None, None, None, None)
        return
    for where, record in iter_records(path):
        yield _read_row(of_type(record, dict, f"{where}: record"), where)


def _read_row(row: Mapping[str, Any], where: str) -> Given:
    id_name = next((name for name in _IDS if name in row), None)
    answer_name = next((name for name in _ANSWERS if name in row), None)
    text = optional(row, "text", str, where)
    if id_name is None:
        raise DataError(f"{where}: no id (got {', '.join(row) or 'no fields'}); add one of {', '.join(_IDS)}")
    if answer_name is None and text is None:
        raise DataError(f"{where}: no prediction (got {', '.join(row)}); add one of {', '.join(_ANSWERS)}, text")
    rollout_index = optional(row, "rollout_index", int, where)
    return Given(
        where=where,
        question_id=field(row, id_name, str, where),
        rollout_index=0 if rollout_index is None else rollout_index,
        has_answer=answer_name is not None,
        answer=optional(row, answer_name, str, where) if answer_name else None,
        text=text,
        finish_reason=optional(row, "finish_reason", str, where),
        completion_tokens=optional(row, "completion_tokens", int, where),
        phases=None if row.get("phases") is None else read_phase_spans(row["phases"], where),
    )


def _read_official(path: Path) -> dict[str, Any] | None:
    """Read an object whose `answer` maps ids to texts; None for every other file."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            line = file.readline()
            while line.isspace():
                line = file.readline()
            if not line.lstrip().startswith("{"):
                return None
            try:
                value = parse_json(line)
            except json.JSONDecodeError:
                # a line of JSONL is whole: an object over many lines is one value
                try:
                    value = parse_json(line + file.read())
                except json.JSONDecodeError:
                    return None
    except (OSError, UnicodeDecodeError):
        # told by whoever reads the records
        return None
    return value["answer"] if "answer" in value and type(value["answer"]) is dict else None
