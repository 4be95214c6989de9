"""Reader of people's own questions: a question and its answer, and what else there is.

::

    {"question": "Where was Judy Rice born?", "answer": "Oakford"}
    {"id": 7, "question": "...", "answer": "...", "aliases": ["..."], "documents": ["...", {"title": "", "text": ""}]}
    {"question": "...", "answer": "48 / 2 = <<48/2=24>>24 clips in May ... #### 72"}         as GSM8K writes it

1. Without an id the question's hash is its id: the same file gives the same ids.
2. Which documents support the answer is not known, unless all of them say so: what needs it is off.
3. Without documents the question is asked closed-book.
4. An answer that is a number is compared as one (`1,800`, `$12.50`) if its aliases are numbers too; of one with
   `####`, what follows the last of them is the number. `answer_rule` of the recipe can say otherwise.
5. Other fields are not read, and `unread` names them; one that looks like a misspelt field of ours is refused.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Iterable
from typing import Any

from mbt_lite.errors import DataError
from mbt_lite.layouts.fields import all_text, field, of_type, optional, shown, text
from mbt_lite.layouts.layout import Layout, Row, tier_by_hops
from mbt_lite.records import NUMBER_MARK, Document, Question
from mbt_lite.text.normalize import normalize
from mbt_lite.text.numbers import plain_number

IDS = ("question_id", "id", "_id")
DOCUMENTS = ("documents", "context", "contexts")
FIELDS = (*IDS, "question", "answer", "aliases", *DOCUMENTS, "hops", "question_type", "level")
# so alike that it is a slip rather than another word
_LIKENESS = 0.8
_ID_DIGITS = 12
_A_NUMBER = re.compile(r"[-+\u2212]?[$\u20ac\u00a3]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?\s?%?")
# how a list looks in a cell of a table, as JSON, Python or numpy writes it
_LIST = re.compile(r"""\[\s*['"{].*\]""", re.DOTALL)


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
    aliases = _aliases(row, where)
    answer, is_number = _answer(row, aliases, where)
    return {
        "answer": answer,
        "aliases": aliases,
        "source": "plain",
        "hops": _whole(row, "hops", where),
        "question_type": optional(row, "question_type", str, where),
        "level": optional(row, "level", str, where),
        "answer_rule": "number" if is_number else "text",
    }


def _answer(row: Row, aliases: Iterable[str], where: str) -> tuple[str, bool]:
    answer = row.get("answer")
    # no number: what pandas has where an answer is missing
    is_number = not isinstance(answer, bool) and isinstance(answer, int | float) and math.isfinite(answer)
    said = text({"answer": repr(answer)} if is_number else row, "answer", where)
    if _LIST.fullmatch(said):
        raise DataError(
            f'{where}: field "answer" is a list (got {shown(said)}); write one answer, the others as aliases'
        )
    _, mark, number = said.rpartition(NUMBER_MARK)
    if not mark:
        # by value, a word would never be right
        return said, (is_number or _is_number(said)) and all(map(_is_number, aliases))
    if plain_number(number) is None:
        raise DataError(f'{where}: field "answer" has no number after {NUMBER_MARK} (got {shown(number)}); mend it')
    return plain_number(number) or "", True


def _is_number(said: str) -> bool:
    return _A_NUMBER.fullmatch(said) is not None


def _aliases(row: Row, where: str) -> tuple[str, ...]:
    if row.get("aliases") is None:
        return ()
    place = f'{where}: field "aliases"'
    found = all_text(_items(row["aliases"], place), place)
    if blank := [one for one in found if not normalize(one)]:
        # an empty answer would be right
        raise DataError(f"{place}: one normalises to nothing (got {shown(blank[0])}); mend or delete it")
    return found


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
    place = f'{where}: field "{name}"'
    items = enumerate(_items(row[name], place), 1)
    found = tuple(_document(item, number, f"{place}, item {number}") for number, item in items)
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


def _items(given: Any, place: str) -> list[Any]:
    """Give a list, also out of a cell of a table, where it is written as JSON; any other text is the only item."""
    if isinstance(given, str):
        try:
            given = json.loads(given) if given.lstrip().startswith("[") else [given]
        except (ValueError, RecursionError) as error:
            if _LIST.fullmatch(given.strip()):
                raise DataError(
                    f'{place}: a list that is no JSON (got {shown(given)}); write it as ["a", "b"]'
                ) from error
            given = [given]
    return list(of_type(given, list, place))


LAYOUT = Layout("plain", ("question answer",), ("id answer",), read_row, read_key, "musique", tier_by_hops)
