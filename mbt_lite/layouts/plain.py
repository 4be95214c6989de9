"""Reader of people's own questions: a question and its answer, and what else there is.

::

    {"question": "Where was Judy Rice born?", "answer": "Oakford"}
    {"id": 7, "question": "...", "answer": "...", "aliases": ["..."], "documents": ["...", {"title": "", "text": ""}]}
    {"question": "...", "answer": "48 / 2 = <<48/2=24>>24 clips in May ... #### 72"}         as GSM8K writes it

1. Without an id the question's hash is its id: the same file gives the same ids.
2. Which documents support the answer is not known, unless all of them say so: what needs it is off.
3. Without documents the question is asked closed-book.
4. An answer that is a number is compared as one (`1,800`, `$12.50`); of one with `####`, what follows the last of them
   is the number. `answer_rule` of the recipe can say otherwise.
5. Other fields are not read, and `unread` names them; one that looks like a misspelt field of ours is refused.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from mbt_lite.errors import DataError
from mbt_lite.layouts.fields import all_text, field, of_type, optional, shown, text
from mbt_lite.layouts.layout import Layout, Row, tier_by_hops
from mbt_lite.records import NUMBER_MARK, Document, Question
from mbt_lite.text.numbers import plain_number

IDS = ("question_id", "id", "_id")
DOCUMENTS = ("documents", "context", "contexts")
FIELDS = (*IDS, "question", "answer", "aliases", *DOCUMENTS, "hops", "question_type", "level")
# so alike that it is a slip rather than another word
_LIKENESS = 0.8
_ID_DIGITS = 12
_A_NUMBER = re.compile(r"[-+\u2212]?[$\u20ac\u00a3]?\d[\d,]*(\.\d+)?\s?%?")


def read_row(row: Row, where: str) -> Question:
    """Read one record; DataError names `where` and the field that is wrong."""
    for name in unread(row):
        meant = difflib.get_close_matches(name.lower(), FIELDS, n=1, cutoff=_LIKENESS)
        if meant and meant[0] not in row:
            raise DataError(f"{where}: unknown field {shown(name)}; did you mean {meant[0]}? Rename it, or delete it")
    question = text(row, "question", where)
    return Question(
        question_id=_id(row, where) or id_of(question),
        question=question,
        documents=_documents(row, where),
        **_key(row, where),
    )


def id_of(question: str) -> str:
    """Give the id of a question that has none: its hash."""
    return f"q-{hashlib.sha256(question.encode()).hexdigest()[:_ID_DIGITS]}"


def read_key(row: Row, where: str) -> Question:
    """Read what scoring needs."""
    question_id = _id(row, where)
    if question_id is None:
        return read_row(row, where)
    return Question(question_id=question_id, question="", documents=(), **_key(row, where))


def unread(names: Iterable[str]) -> list[str]:
    """Give the fields of a record that are not read."""
    return [name for name in names if name not in FIELDS]


def _key(row: Row, where: str) -> dict[str, Any]:
    answer, is_number = _answer(row, where)
    return {
        "answer": answer,
        "aliases": _aliases(row, where),
        "source": "plain",
        "hops": _whole(row, "hops", where),
        "question_type": optional(row, "question_type", str, where),
        "level": optional(row, "level", str, where),
        "answer_rule": "number" if is_number else "text",
    }


def _answer(row: Row, where: str) -> tuple[str, bool]:
    answer = row.get("answer")
    if type(answer) in (int, float):
        answer = repr(answer)
    said = text({"answer": answer} if isinstance(answer, str) else row, "answer", where)
    _, mark, number = said.rpartition(NUMBER_MARK)
    if not mark:
        return said, _A_NUMBER.fullmatch(said) is not None
    if plain_number(number) is None:
        raise DataError(f'{where}: field "answer" has no number after {NUMBER_MARK} (got {shown(number)}); mend it')
    return plain_number(number) or "", True


def _aliases(row: Row, where: str) -> tuple[str, ...]:
    given = row.get("aliases")
    if given is None:
        return ()
    items = _from_cell(given) if isinstance(given, str) else given
    if isinstance(items, str):
        return (items,)
    place = f'{where}: field "aliases"'
    return all_text(of_type(items, list, place), place)


def _id(row: Row, where: str) -> str | None:
    """Give the id, a whole number as text; None without one."""
    name = next((name for name in IDS if row.get(name) is not None), None)
    if name is None:
        return None
    return str(row[name]) if type(row[name]) is int else text(row, name, where)


def _whole(row: Row, name: str, where: str) -> int | None:
    """Read a whole number, from a cell of a table too."""
    value = row.get(name)
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return optional(row, name, int, where)  # type: ignore[no-any-return]


def _documents(row: Row, where: str) -> tuple[Document, ...]:
    name = next((name for name in DOCUMENTS if row.get(name) is not None), None)
    if name is None:
        return ()
    items = _from_cell(row[name]) if isinstance(row[name], str) else row[name]
    if isinstance(items, str):
        items = [items]
    place = f'{where}: field "{name}"'
    found = tuple(
        _document(item, number, f"{place}, item {number}") for number, item in enumerate(of_type(items, list, place), 1)
    )
    if any(one.is_supporting is None for one in found) and any(one.is_supporting is not None for one in found):
        raise DataError(f"{place}: some items say `is_supporting` and some do not; say it of all or of none")
    return found


def _document(item: Any, number: int, where: str) -> Document:
    if isinstance(item, str):
        return Document(f"Document {number}", text({"text": item}, "text", where), None)
    if type(item) is not dict:
        raise DataError(f"{where}: is neither a text nor {{title, text}} (got {shown(item)}); write one of them")
    title = optional(item, "title", str, where)
    supporting = optional(item, "is_supporting", bool, where)
    return Document(title or f"Document {number}", field(item, "text", str, where), supporting)


def _from_cell(cell: str) -> Any:
    """Read a list out of a cell of a table, where it is written as JSON; else the text is the only item."""
    if not cell.lstrip().startswith("["):
        return cell
    try:
        return json.loads(cell)
    except ValueError:
        return cell


LAYOUT = Layout("plain", ("question answer",), ("id answer",), read_row, read_key, "musique", tier_by_hops)
