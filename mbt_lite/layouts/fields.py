"""Typed reading of outside records: every field is there and of its type, or a DataError says where it is not.

`where` is `file:line` (JSONL), `file: record N` (arrays) or the hub name and row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mbt_lite.errors import DataError

NAMES = {str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"}
_NAMES_SHOWN = 12
# What `str.strip` takes off, and what cannot be seen: byte order marks, zero width space and joiner.
_BLANK = "".join(map(chr, (c for c in range(0x3001) if chr(c).isspace()))) + "\ufeff\u200b\u2060"
_HALF = re.compile("[\ud800-\udfff]")


def field(row: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    """Give a field of exactly this type (one of `NAMES`); DataError if it is missing or another."""
    if name not in row:
        raise DataError(f'{where}: missing field "{name}" (got {names(row)}); add it')
    return of_type(row[name], kind, f'{where}: field "{name}"')


def of_type(value: Any, kind: type, where: str) -> Any:
    """Give the value if it is of exactly this type; DataError if not, or if a text holds half a surrogate pair."""
    if type(value) is not kind:
        raise DataError(f"{where}: is not {NAMES[kind]} (got {shown(value)}); write {NAMES[kind]}")
    if isinstance(value, str) and (half := _HALF.search(value)):
        cut = shown(value[max(0, half.start() - 20) : half.end()])
        raise DataError(f"{where}: holds half a character (got {cut}); mend the text where it was cut")
    return value


def text(row: Mapping[str, Any], name: str, where: str) -> str:
    """Give a text field without the white space and the marks of no width around it; DataError if nothing is left."""
    value: str = field(row, name, str, where).strip(_BLANK)
    if not value:
        raise DataError(f'{where}: field "{name}" is empty (got {shown(row[name])}); fill it in or delete the record')
    return value


def optional(row: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    """Give a field that the layout may leave out or null: None then, else exactly this type."""
    return None if name not in row or row[name] is None else field(row, name, kind, where)


def texts(row: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    """Give a field that is a list of texts, verbatim: they may be empty."""
    return all_text(field(row, name, list, where), f'{where}: field "{name}"')


def all_text(values: list[Any], where: str) -> tuple[str, ...]:
    """Give a list's items if every one is text."""
    return tuple(of_type(value, str, f"{where}, item {number}") for number, value in enumerate(values, 1))


def objects(row: Mapping[str, Any], name: str, where: str) -> list[Any]:
    """Give a field that is a list of objects; columns of one length, as `datasets` may keep it, become that list.

    The items are not looked at. Raises DataError if the columns differ in length, or for any other type.
    """
    if name not in row or type(row[name]) is not dict or not row[name]:
        return list(field(row, name, list, where))
    place = f'{where}: field "{name}"'
    columns = {column: field(row[name], column, list, place) for column in row[name]}
    if len({len(values) for values in columns.values()}) > 1:
        lengths = ", ".join(f"{column} {len(values)}" for column, values in columns.items())
        raise DataError(f"{place}: its columns differ in length (got {lengths}); mend or delete the record")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def names(row: Iterable[str]) -> str:
    """Name the fields of a record in an error, the first dozen if there are many."""
    found = list(row)
    more = f", ... ({len(found)} in all)" if len(found) > _NAMES_SHOWN else ""
    return ", ".join(found[:_NAMES_SHOWN]) + more or "no fields"


def shown(value: Any) -> str:
    """Show a value in an error: on one line and short."""
    line = repr(value)
    return line if len(line) <= 60 else f"{line[:57]}..."
