"""Typed reading of outside records: every field is there and of its type, or a DataError says where it is not.

`where` is `file:line` (JSONL), `file: record N` (arrays) or the hub name and row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mbt_lite.errors import DataError

NAMES = {str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"}


def field(row: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    """Give a field of exactly this type (one of `NAMES`); DataError if it is missing or another."""
    if name not in row:
        raise DataError(f'{where}: missing field "{name}" (got {", ".join(row) or "no fields"}); add it')
    return of_type(row[name], kind, f'{where}: field "{name}"')


def of_type(value: Any, kind: type, where: str) -> Any:
    """Give the value if it is of exactly this type; DataError if not."""
    if type(value) is not kind:
        raise DataError(f"{where}: is not {NAMES[kind]} (got {shown(value)}); write {NAMES[kind]}")
    return value


def text(row: Mapping[str, Any], name: str, where: str) -> str:
    """Give a text field without the white space around it; DataError if nothing is left."""
    value: str = field(row, name, str, where).strip()
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


def shown(value: Any) -> str:
    """Show a value in an error: on one line and short."""
    line = repr(value)
    return line if len(line) <= 60 else f"{line[:57]}..."
