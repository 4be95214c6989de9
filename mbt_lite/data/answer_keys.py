"""The golds of a question file, by id: all that scoring needs, whatever else a record has lost.

The readers of `questions.py` refuse a record without documents, since nobody could reason over it. Here such a record
is as good as any: predictions made elsewhere can be held against it. Where the datasets differ:

1. MuSiQue has aliases in the record. One that says `answerable: false` has no answer to score, and is left out.
2. 2Wiki has its aliases in a file of its own (`id_aliases.json`, one `{"Q_id", "aliases", "demonyms"}` a line), joined
   by the record's `answer_id`, as its scorer of version 1.1 does. Without it only the answer itself counts.
3. HotpotQA has none.
4. A gold without any word (`The`) is kept: the scorers' rules for empty texts hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mbt_lite.data.fields import field, of_type, optional, text, texts
from mbt_lite.data.musique import SHAPE
from mbt_lite.data.stream import iter_records
from mbt_lite.errors import DataError
from mbt_lite.records import Question

Row = Mapping[str, Any]
Aliases = Mapping[str, tuple[str, ...]]

# Fields that tell a layout, looked for in this order; 2Wiki has all of HotpotQA's.
MARKS = {
    "question_id": "mbt",
    "paragraphs": "musique",
    "answer_aliases": "musique",
    "evidences": "2wiki",
    "answer_id": "2wiki",
    "supporting_facts": "hotpot",
    "level": "hotpot",
}
LAYOUTS = ("mbt", "musique", "hotpot", "2wiki")


def read_answer_keys(path: Path, layout: str = "auto", aliases_path: Path | None = None) -> dict[str, Question]:
    """Read the golds of a file: id -> question, without its text and documents.

    Raises DataError for a record without id or answer, an id that stands twice, a layout that cannot be told, or
    aliases for a layout that has them in its records.
    """
    if layout not in ("auto", *LAYOUTS):
        raise DataError(f"layout: no such layout (got {layout}); write auto or one of {', '.join(LAYOUTS)}")
    aliases = read_aliases(aliases_path) if aliases_path is not None else {}
    keys: dict[str, Question] = {}
    for where, record in iter_records(path):
        row = of_type(record, dict, f"{where}: record")
        if layout == "auto":
            layout = _recognise(row, where)
        if aliases_path is not None and layout != "2wiki":
            raise DataError(f"{aliases_path}: aliases are 2Wiki's (got layout {layout}); leave them out")
        key = _read_key(row, layout, aliases, where)
        if key is None:
            continue
        if key.question_id in keys:
            raise DataError(f"{where}: id stands twice (got {key.question_id!r}); rename or delete one")
        keys[key.question_id] = key
    if not keys:
        raise DataError(f"{path}: holds no question (got no record with an answer); name another file")
    return keys


def read_aliases(path: Path) -> dict[str, tuple[str, ...]]:
    """Read 2Wiki's aliases: Wikidata id -> other names and demonyms."""
    return {
        text(row, "Q_id", where): (*texts(row, "aliases", where), *texts(row, "demonyms", where))
        for where, record in iter_records(path)
        if (row := of_type(record, dict, f"{where}: record"))
    }


def _recognise(row: Row, where: str) -> str:
    for name, layout in MARKS.items():
        if name in row:
            return layout
    raise DataError(
        f"{where}: no layout has these fields (got {', '.join(row) or 'none'}); name it: one of {', '.join(LAYOUTS)}"
    )


def _read_key(row: Row, layout: str, aliases: Aliases, where: str) -> Question | None:
    if layout == "musique":
        return _read_musique(row, where)
    if layout == "mbt":
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
        )
    answer_id = optional(row, "answer_id", str, where) if layout == "2wiki" else None
    return Question(
        question_id=text(row, "_id" if "_id" in row else "id", where),
        question="",
        answer=field(row, "answer", str, where),
        aliases=() if answer_id is None or answer_id not in aliases else aliases[answer_id],
        documents=(),
        source=layout,
        question_type=optional(row, "type", str, where),
        level=optional(row, "level", str, where),
    )


def _read_musique(row: Row, where: str) -> Question | None:
    if optional(row, "answerable", bool, where) is False:
        return None
    question_id = text(row, "id", where)
    shape = SHAPE.match(question_id)
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
