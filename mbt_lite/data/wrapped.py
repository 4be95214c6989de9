"""One object that holds many records, as other tools write them: unwrapped, or told to be a record itself.

::

    {"version": "1", "data": [{...}, ...]}                       the one list of objects, whatever it is called
    {"id": {"0": "a", "1": "b"}, "answer": {"0": ...}}           pandas' `df.to_json()`: a column a field
    {"id": ["a", "b"], "answer": [...]}                          `Dataset.to_dict()`
    {"0": {"id": "a", "answer": ...}, "1": {...}}                `df.to_json(orient="index")`
    {"a": {"question": ..., "answer": ...}, "b": {...}}          records by their ids
    {"columns": ["id", "answer"], "index": [0], "data": [[...]]} `df.to_json(orient="split")`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

IDS = ("question_id", "_id", "id")
# A record with one of these is one, whatever lists it holds.
_OF_RECORDS = (*IDS, "Q_id", "question", "answer")


def rows_in(one: Mapping[str, Any]) -> list[Any] | None:
    """Give the records that the one object of a file holds; None if it is a record itself."""
    if any(name in one for name in _OF_RECORDS):
        return _from_columns(one) if any(name in one for name in IDS) or _is_column(one.get("question")) else None
    if type(one.get("columns")) is list and _is_list_of(list, one.get("data")):
        return [dict(zip(one["columns"], row, strict=False)) for row in one["data"]]
    lists = [value for value in one.values() if _is_list_of(dict, value)]
    if len(lists) == 1:
        return list(lists[0])
    return _from_index(one)


def _from_index(one: Mapping[str, Any]) -> list[Any] | None:
    """Give the rows that stand by an index or by their ids; None if the values are no records."""
    rows = list(one.values())
    if not rows or not all(type(row) is dict and any(name in row for name in _OF_RECORDS) for row in rows):
        return None
    if all(any(name in row for name in IDS) for row in rows):
        return rows
    # our own layout is the one with documents
    return [{"question_id" if "documents" in row else "id": key, **row} for key, row in one.items()]


def _from_columns(one: Mapping[str, Any]) -> list[Any] | None:
    """Turn columns of equal length into rows; None if the values are no columns."""
    columns = list(one.values())
    if all(type(column) is dict and column.keys() == columns[0].keys() for column in columns):
        return [{name: column[key] for name, column in one.items()} for key in columns[0]]
    if all(type(column) is list and len(column) == len(columns[0]) for column in columns):
        return [dict(zip(one, row, strict=True)) for row in zip(*columns, strict=True)]
    return None


def _is_column(value: Any) -> bool:
    return type(value) in (dict, list)


def _is_list_of(kind: type, value: Any) -> bool:
    return type(value) is list and bool(value) and all(type(item) is kind for item in value)
