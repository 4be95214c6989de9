"""Turns what the schema refuses into lines that say where, what and what to do.

The schema's own messages name types of Python and no lines; these name the key, the text as written and, for a key that
does not exist, the one that was meant or the section it belongs in.
"""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from mbt_lite.recipe.schema import Recipe
from mbt_lite.recipe.tree import Fault, Node, Path, Scalar, dotted, kind_of

# What pydantic refuses -> (what is wrong with the value, what to write instead).
WRONG_TYPES = {
    "int_type": ("is not a whole number", "write a whole number"),
    "float_type": ("is not a number", "write a number"),
    "bool_type": ("is neither true nor false", "write true or false"),
    "string_type": ("is not text", "put it in quotes if it is meant as text"),
    "tuple_type": ("is not a list", "write [a, b]"),
    "model_type": ("is a section", "give it keys of its own, or leave the line out"),
}
BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def schema_fault(error: ErrorDetails, root: Node) -> Fault:
    """Word one error of `Recipe.model_validate_json` and find its place in the file or on the command line."""
    path = error["loc"]
    key = dotted(path)
    node = root.at(path)
    if error["type"] == "missing":
        section = root.at(path[:-1])
        assert section is not None, path
        return Fault(path, section.key_place, f"missing key `{key}`; {_what_to_add(path)}")
    assert node is not None, (path, error)
    if error["type"] == "extra_forbidden":
        return Fault(path, node.key_place, f"unknown key `{key}`; {_what_was_meant(path)}")
    got = f"(got {kind_of(node)})"
    if error["type"] in WRONG_TYPES:
        wrong, cure = WRONG_TYPES[error["type"]]
        return Fault(path, node.place, f"`{key}` {wrong} {got}; {cure}{_example(path, error['type'])}")
    if error["type"] in BOUNDS:
        bound, word = BOUNDS[error["type"]]
        limit = error["ctx"][bound]
        return Fault(path, node.place, f"`{key}` is out of range {got}; it must be {word} {limit:g}")
    if error["type"] == "literal_error":
        choices = _choices(path)
        return Fault(path, node.place, f"`{key}` cannot be {json.dumps(node.plain())}; {_nearest(node.value, choices)}")
    return Fault(path, node.place, f"`{key}` is refused {got}; {error['msg'].lower()}")


def fields_below(section: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Give the path and field of every key below a section, sections first, then what is in them."""
    for name, field in section.model_fields.items():
        yield (*prefix, name), field
        if is_section(field.annotation):
            yield from fields_below(field.annotation, (*prefix, name))


def is_section(annotation: object) -> typing.TypeGuard[type[BaseModel]]:
    """Tell whether a field's type is a section of its own."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _fields() -> Mapping[tuple[str, ...], FieldInfo]:
    return dict(fields_below(Recipe))


def _field(path: Path) -> FieldInfo:
    return _fields()[tuple(part for part in path if isinstance(part, str))]


def _example(path: Path, error_type: str) -> str:
    """Give the default of a number as an example, where there is one."""
    default = _field(path).default
    if error_type not in ("int_type", "float_type") or default is PydanticUndefined or default is None:
        return ""
    return f" such as {default}"


def _what_to_add(path: Path) -> str:
    """Say what a missing key is for, in the words of the schema."""
    field = _field(path)
    kind = "the section" if is_section(field.annotation) else "it"
    return f"add {kind}: {(field.description or '').partition('. ')[0].rstrip('.')}"


def _what_was_meant(path: Path) -> str:
    """Guess what an unknown key was meant to be: elsewhere by the same name, here by a near one, else list what is here."""
    section, name = path[:-1], str(path[-1])
    fields = _fields()
    here = [known[-1] for known in fields if known[:-1] == section]
    written_flat = tuple(name.split("."))
    if (*section, *written_flat) in fields:
        return f"write `{written_flat[-1]}` in the section `{dotted((*section, *written_flat[:-1]))}`"
    elsewhere = [known[:-1] for known in fields if known[-1] == name]
    below = [other for other in elsewhere if other[: len(section)] == section]
    if elsewhere:
        homes = [f"`{dotted(home)}`" if home else "the top level" for home in (below if section else []) or elsewhere]
        return f"it belongs in {' or '.join(homes)}"
    return _nearest(name, here, "`{}`", "the keys here are")


def _choices(path: Path) -> list[str]:
    """Give the words an enumeration allows; a list's items share theirs."""
    pending: list[Any] = [_field(path).annotation]
    while pending:
        annotation = pending.pop()
        if typing.get_origin(annotation) is Literal:
            return [str(choice) for choice in typing.get_args(annotation)]
        pending.extend(argument for argument in typing.get_args(annotation) if argument is not types.EllipsisType)
    raise AssertionError(f"no choices at {path}")


def _nearest(
    name: Scalar | list[Node] | dict[str, Node], known: list[str], form: str = "{}", else_say: str = "it is one of"
) -> str:
    """Suggest the nearest known word, or list them all."""
    near = difflib.get_close_matches(name, known, n=1) if isinstance(name, str) else []
    if near:
        return f"did you mean {form.format(near[0])}?"
    return f"{else_say} {', '.join(form.format(word) for word in known)}"
