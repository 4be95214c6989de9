"""The golds of a question file, by id: all that scoring needs, whatever else a record has lost.

The readers of `questions.py` refuse a record without documents, since nobody could reason over it. Here such a record
is as good as any: predictions made elsewhere can be held against it. A MuSiQue record that says `answerable: false` has
no answer to score, and is left out. 2Wiki has its aliases in a file of its own (`id_aliases.json`, one
`{"Q_id", "aliases", "demonyms"}` a line): without it only the answer itself counts. A gold without any word (`The`) is
kept: the scorers' rules for empty texts hold.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mbt_lite.data.stream import iter_records
from mbt_lite.errors import DataError
from mbt_lite.layouts import AUTO, layout_named
from mbt_lite.layouts.fields import of_type, optional, text, texts
from mbt_lite.records import Question


def read_answer_keys(path: Path, layout: str = AUTO, aliases_path: Path | None = None) -> dict[str, Question]:
    """Read the golds of a file: id -> question, without its text and documents.

    Raises DataError for a record without id or answer, an id that stands twice, a layout that cannot be told, or
    aliases for a layout that has them in its records.
    """
    aliases = _read_aliases(aliases_path) if aliases_path is not None else {}
    keys: dict[str, Question] = {}
    for where, record in iter_records(path):
        row = of_type(record, dict, f"{where}: record")
        known = layout_named(layout, row, where, is_key=True)
        layout = known.name
        if aliases_path is not None and known.alias_id is None:
            raise DataError(f"{aliases_path}: aliases are 2Wiki's (got layout {layout}); leave them out")
        key = known.read_key(row, where)
        if key is None:
            continue
        if key.question_id in keys:
            raise DataError(f"{where}: id stands twice (got {key.question_id!r}); rename or delete one")
        alias_id = optional(row, known.alias_id, str, where) if known.alias_id is not None else None
        if alias_id in aliases:
            key = dataclasses.replace(key, aliases=aliases[alias_id])
        keys[key.question_id] = key
    if not keys:
        raise DataError(f"{path}: holds no question (got no record with an answer); name another file")
    return keys


def _read_aliases(path: Path) -> dict[str, tuple[str, ...]]:
    """Read 2Wiki's aliases: Wikidata id -> other names and demonyms."""
    return {
        text(row, "Q_id", where): (*texts(row, "aliases", where), *texts(row, "demonyms", where))
        for where, record in iter_records(path)
        if (row := of_type(record, dict, f"{where}: record"))
    }
