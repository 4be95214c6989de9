"""Questions that hold a control token of the student are refused: in a prompt it would end a turn, or begin another.

They are not neutralised: a text with a character put in between is another text, and no tokenizer of a server is ours
to set. What the tokenizer reads as ordinary text, `<think>` among it, may stand anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mbt_lite.data.hub import PREFIX
from mbt_lite.data.stream import iter_records
from mbt_lite.data.wrapped import IDS
from mbt_lite.errors import DataError
from mbt_lite.layouts import plain
from mbt_lite.recipe.schema import Questions
from mbt_lite.records import Question

_FAULTS_SHOWN = 10


def refuse_control_tokens(questions: Iterable[Question], find: Callable[[str], list[str]], source: Questions) -> None:
    """Raise DataError, a line a question with its place, where what the student or a teacher reads has control tokens.

    `find` names those that a text becomes.
    """
    found = {one.question_id: held for one in questions if (held := next(_held(one, find), None)) is not None}
    if not found:
        return
    places = _places(source, set(list(found)[:_FAULTS_SHOWN]))
    lines = [
        f"{places.get(name, f'{source.path}: question {name}')}: {where} holds {', '.join(tokens)}, which the "
        "student's tokenizer reads as a control token; take it out, or delete the record"
        for name, (where, tokens) in list(found.items())[:_FAULTS_SHOWN]
    ]
    more = len(found) - _FAULTS_SHOWN
    raise DataError("\n".join([*lines, *([f"{source.path}: ... and {more} more"] if more > 0 else [])]))


def _held(question: Question, find: Callable[[str], list[str]]) -> Iterator[tuple[str, list[str]]]:
    """Give each text that holds control tokens, by its name in an error."""
    texts = {"question": question.question, "answer": question.answer}
    texts |= {f"document {n}": f"{d.title}\n{d.text}" for n, d in enumerate(question.documents, 1)}
    return ((name, tokens) for name, text in texts.items() if (tokens := find(text)))


def _places(source: Questions, names: set[str]) -> dict[str, str]:
    """Give the places of questions in their file; a hub dataset has none that could be mended."""
    if source.path.startswith(PREFIX):
        return {}
    rows = ((where, row) for where, row in iter_records(Path(source.path)) if isinstance(row, dict))
    ids = ((_id(row), where) for where, row in rows)
    return {name: where for name, where in ids if name in names}


def _id(row: dict[str, Any]) -> str:
    """Give a record's id, or what it has in its place."""
    found = next((row[name] for name in IDS if row.get(name) is not None), None)
    return str(found).strip() if found is not None else plain.id_of(str(row.get("question", "")).strip())
