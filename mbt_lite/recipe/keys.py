"""The schema as a list of keys: what exists, what it is for, what it allows."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mbt_lite.recipe.schema import Recipe
from mbt_lite.recipe.section import Section
from mbt_lite.recipe.tree import Path


def known_keys() -> dict[tuple[str, ...], FieldInfo]:
    """Give every key of a recipe by its path, sections before what is in them."""
    return dict(_keys_below(Recipe, ()))


def field_at(path: Path) -> FieldInfo:
    """Give the field of a key; an item of a list shares its list's, and may be a section."""
    section: type[BaseModel] = Recipe
    field = None
    for part in path:
        if isinstance(part, str):
            field = section.model_fields[part]
            section = section_of(field) or section_of_items(field) or Section
    assert field is not None, path
    return field


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Give the section that a key holds; None if it holds a value."""
    held = field.annotation
    return held if isinstance(held, type) and issubclass(held, BaseModel) else None


def section_of_items(field: FieldInfo) -> type[BaseModel] | None:
    """Give the section that an item of a list may be; None where items are values."""
    pending: list[Any] = [field.annotation]
    while pending:
        annotation = pending.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
        pending.extend(typing.get_args(annotation))
    return None


def choices(field: FieldInfo) -> list[str]:
    """Give the words that an enumeration, or a list of one, allows."""
    pending: list[Any] = [field.annotation]
    while pending:
        annotation = pending.pop()
        if typing.get_origin(annotation) is Literal:
            return [str(choice) for choice in typing.get_args(annotation)]
        pending.extend(argument for argument in typing.get_args(annotation) if argument is not types.EllipsisType)
    raise AssertionError(f"no enumeration: {field}")


def _keys_below(section: type[BaseModel], prefix: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for name, field in section.model_fields.items():
        yield (*prefix, name), field
        below = section_of(field)
        if below is not None:
            yield from _keys_below(below, (*prefix, name))
