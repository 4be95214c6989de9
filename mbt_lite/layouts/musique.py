"""Reader of MuSiQue's original JSONL (Trivedi et al. 2022, arXiv 2108.00573).

::

    {"id": "3hop1__482757_12019_20661", "question": "...", "answer": "...", "answer_aliases": ["..."],
     "answerable": true, "question_decomposition": [{"question": "...", "answer": "...", ...}, ...],
     "paragraphs": [{"idx": 0, "title": "...", "paragraph_text": "...", "is_supporting": false}, ...]}

1. The hops are the leading digits of the id (3), the question type its first part (`3hop1`); other ids have neither.
2. Documents stand in the order of `idx`. Titles repeat, so support is by paragraph, never by title.
3. `answerable` may be missing (the answerable set): then the record is answerable. One that says false has no answer
   to learn or to score: `read_row` gives None, and the caller counts it.
4. The bridges are the answers of `question_decomposition` but the last, in its order; it may be missing.
5. Aliases are kept as they are, odd ones too: an alias that normalises to nothing never equals an answer that says
   something.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from mbt_lite.layouts.fields import field, objects, of_type, optional, text, texts
from mbt_lite.layouts.layout import Layout, Row, tier_by_hops, whole
from mbt_lite.records import Document, Question

_SHAPE = re.compile(r"((\d+)hop\d*)__")


def read_row(row: Row, where: str) -> Question | None:
    """Read one record, None if it says that it is not answerable; DataError names `where` and the wrong field."""
    key = _read_key(row, where)
    if key is None:
        return None
    question = whole(key, row, _documents(objects(row, "paragraphs", where), where), where)
    return dataclasses.replace(question, bridges=_bridges(row, where))


def _bridges(row: Row, where: str) -> tuple[str, ...]:
    if row.get("question_decomposition") is None:
        return ()
    steps = enumerate(objects(row, "question_decomposition", where), 1)
    places = [(of_type(step, dict, place := f"{where}: step {number}"), place) for number, step in steps]
    return tuple(text(step, "answer", place) for step, place in places[:-1])


def _read_key(row: Row, where: str) -> Question | None:
    if optional(row, "answerable", bool, where) is False:
        return None
    question_id = text(row, "id", where)
    shape = _SHAPE.match(question_id)
    return Question(
        question_id=question_id,
        question="",
        answer=field(row, "answer", str, where),
        aliases=texts(row, "answer_aliases", where),
        documents=(),
        source="musique",
        hops=int(shape[2]) if shape else None,
        question_type=shape[1] if shape else None,
    )


def _documents(paragraphs: list[Any], where: str) -> tuple[Document, ...]:
    by_idx = []
    for number, item in enumerate(paragraphs, 1):
        place = f"{where}: paragraph {number}"
        paragraph = of_type(item, dict, place)
        title, body = field(paragraph, "title", str, place), field(paragraph, "paragraph_text", str, place)
        document = Document(title.strip(), body.strip(), field(paragraph, "is_supporting", bool, place))
        by_idx.append((field(paragraph, "idx", int, place), document))
    return tuple(document for _, document in sorted(by_idx, key=lambda pair: pair[0]))


LAYOUT = Layout(
    "musique", ("paragraphs",), ("answer_aliases",), read_row, _read_key, "musique", tier_by_hops, licence="cc-by-4.0"
)
