"""Reader of our own layout: one `to_row(Question)` a line.

::

    {"question_id": "demo-dev-0000", "question": "Where was ...?", "answer": "Oakford", "aliases": [],
     "documents": [{"title": "Judy Rice", "text": "Judy Rice was born in Oakford.", "is_supporting": true}, ...],
     "source": "synthetic", "hops": 2, "question_type": "bridge", "level": "easy", "bridges": ["Judy Rice"],
     "bridges_are_titles": false}

Every field but `hops`, `question_type`, `level` and the two of bridges is needed, and no other is known: a misspelt one
would be lost.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from mbt_lite.errors import DataError
from mbt_lite.layouts.fields import field, objects, of_type, optional, text, texts
from mbt_lite.layouts.layout import Layout, Row, tier_by_hops, whole
from mbt_lite.records import Document, Question

_FIELDS = tuple(field.name for field in dataclasses.fields(Question))


def read_row(row: Row, where: str) -> Question:
    """Read one record; DataError names `where` and the field that is wrong."""
    if unknown := sorted(set(row) - set(_FIELDS)):
        raise DataError(f"{where}: unknown field {', '.join(unknown)}; the layout has {', '.join(_FIELDS)}")
    items = enumerate(objects(row, "documents", where), 1)
    documents = tuple(_document(item, f"{where}: document {number}") for number, item in items)
    return whole(_read_key(row, where), row, documents, where)


def _read_key(row: Row, where: str) -> Question:
    return Question(
        question_id=text(row, "question_id", where),
        question="",
        answer=field(row, "answer", str, where),
        aliases=texts(row, "aliases", where),
        documents=(),
        source=text(row, "source", where),
        hops=optional(row, "hops", int, where),
        question_type=optional(row, "question_type", str, where),
        level=optional(row, "level", str, where),
        bridges=() if row.get("bridges") is None else texts(row, "bridges", where),
        bridges_are_titles=bool(optional(row, "bridges_are_titles", bool, where)),
    )


def _document(item: Any, where: str) -> Document:
    item = of_type(item, dict, where)
    return Document(
        title=field(item, "title", str, where),
        text=field(item, "text", str, where),
        is_supporting=field(item, "is_supporting", bool, where),
    )


_MARKS, _KEY_MARKS = ("question_id documents source",), ("question_id source",)
LAYOUT = Layout("mbt", _MARKS, _KEY_MARKS, read_row, _read_key, "musique", tier_by_hops)
