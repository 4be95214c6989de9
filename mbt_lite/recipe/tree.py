"""A recipe's YAML as a tree of values that know where they stand.

Source: the core schema of YAML 1.2.2 (https://yaml.org/spec/1.2.2/, 10.3). PyYAML resolves by YAML 1.1, where `no` is a
boolean, `1e-4` a string and `1:30` ninety; so only its parsing events are used, and `read_scalar` says what text means.

Where we differ from the core schema:

1. Numbers are decimal and finite: `0o17`, `0x1f`, `017` and `.inf` stay text, and so fail where a number is wanted.
2. Anchors, aliases, tags, merge keys and second documents are refused: a recipe reads as it stands.
3. A duplicate key is an error; its first value counts for the other checks.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import yaml

Scalar = str | int | float | bool | None
Path = tuple[str | int, ...]

_CONSTANTS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")

# Settings are reported after everything in the file.
_FIRST_SETTING = 10**9


class Place(NamedTuple):
    """Where something stands: `where` is `file:line` or the `--set` that says it; `order` sorts the problems."""

    order: int
    where: str


class Fault(NamedTuple):
    """One problem of a recipe: the key it is about (None: no single key), where, and what to do."""

    path: Path | None
    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place.where}: {self.message}"


@dataclasses.dataclass(slots=True)
class Node:
    """One value and where it stands; `key_place` is where its key does, `spelling` its text as written."""

    value: Scalar | list[Node] | dict[str, Node]
    place: Place
    key_place: Place
    spelling: str = ""

    def plain(self) -> object:
        """Give the value without its places, as `json.dumps` takes it."""
        match self.value:
            case dict():
                return {key: node.plain() for key, node in self.value.items()}
            case list():
                return [node.plain() for node in self.value]
        return self.value

    def at(self, path: Path) -> Node | None:
        """Find the node at a path below this one; None where there is none."""
        node: Node | None = self
        for part in path:
            match node.value if node else None:
                case dict() as mapping if isinstance(part, str):
                    node = mapping.get(part)
                case list() as items if isinstance(part, int) and part < len(items):
                    node = items[part]
                case _:
                    return None
        return node


def dotted(path: Path) -> str:
    """Write a path as users do.

    >>> dotted(("eval", "variants", 1))
    'eval.variants[1]'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def read_scalar(text: str) -> Scalar:
    """Tell what plain text means; what is neither a constant nor a number is text.

    >>> [read_scalar(text) for text in ("1e-4", "no", "12", "1_000", "~")]
    [0.0001, 'no', 12, '1_000', None]
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def read_tree(text: str, file: str) -> tuple[Node | None, list[Fault]]:
    """Parse a recipe's text; the node is None where there is no mapping to go on with."""
    builder = _Builder(lambda line: Place(line, f"{file}:{line}"))
    root = builder.document(text)
    if root is None and not builder.faults:
        builder.fault(1, (), "the recipe is empty; give it the sections `model` and `data`")
    elif root is not None and not isinstance(root.value, dict):
        builder.fault(
            root.place.order, (), f"not a recipe (got {kind_of(root)}); write the sections `model` and `data`"
        )
        root = None
    return root, builder.faults


def read_setting(setting: str, index: int) -> tuple[tuple[str, ...], Node | None, list[Fault]]:
    """Read one `--set section.key=value`: plain text as it stands, or `[a, b]`, or quoted text."""
    place = Place(_FIRST_SETTING + index, f"--set {setting}")
    key, equals, text = setting.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        return path, None, [Fault(None, place, "not a setting; write --set section.key=value")]
    text = text.strip()
    if text[:1] not in ("[", "{", '"', "'"):
        return path, Node(read_scalar(text), place, place, text), []
    builder = _Builder(lambda line: place)
    node = builder.document(text, path)
    if node is not None and isinstance(node.value, dict):
        builder.fault(1, path, "a setting gives one key its value, not a section; use one --set a key")
    return path, node, builder.faults


def kind_of(node: Node) -> str:
    """Name a value in plain words, for `(got ...)`."""
    match node.value:
        case dict():
            return "a section"
        case list():
            return "a list"
        case None:
            return "nothing"
        case str():
            shown = node.value if len(node.value) <= 60 else f"{node.value[:60]}..."
            return f"the text {json.dumps(shown, ensure_ascii=False)}"
    return node.spelling


class _Builder:
    """Builds nodes from PyYAML's events and collects what it refuses."""

    def __init__(self, place_of_line: Callable[[int], Place]) -> None:
        self.faults: list[Fault] = []
        self._place_of_line = place_of_line
        self._events: Iterator[yaml.Event] = iter(())

    def fault(self, line: int, path: Path | None, message: str) -> None:
        self.faults.append(Fault(path, self._place_of_line(line), message))

    def document(self, text: str, path: Path = ()) -> Node | None:
        """Build the one document of a text; None if it has none or cannot be parsed."""
        root = None
        self._events = yaml.parse(text, Loader=yaml.SafeLoader)
        try:
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    if root is not None:
                        self.fault(_line(event), None, "a second document begins here; one file is one recipe")
                        break
                    root = self._node(next(self._events), path, None)
        except yaml.MarkedYAMLError as error:
            self._refuse_syntax(error)
            return None
        except RecursionError:
            self.fault(1, (), "nested too deeply to be a recipe; write sections and keys")
            return None
        except yaml.reader.ReaderError as error:
            line = text[: error.position].count("\n") + 1
            self.fault(
                line, (), f"a character that YAML does not allow (got #x{ord(text[error.position]):04x}); remove it"
            )
            return None
        return None if root is not None and root.value is None and not self.faults else root

    def _refuse_syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        assert mark is not None, error
        problem = error.problem or error.context or "unreadable"
        cure = "indent with spaces, not tabs" if r"'\t'" in problem else "check indentation, quotes and brackets"
        self.fault(mark.line + 1, (), f"not valid YAML ({problem}); {cure}")

    def _node(self, event: yaml.Event, path: Path, key_place: Place | None) -> Node:
        """Build the value that begins with an event, and everything in it."""
        place = self._place_of_line(_line(event))
        node = Node(None, place, key_place or place)
        name = f" of `{dotted(path)}`" if path else ""
        if isinstance(event, yaml.AliasEvent):
            self.fault(_line(event), path, f"the value{name} is an alias (got *{event.anchor}); write it out")
            return node
        assert isinstance(event, yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent), event
        if event.anchor is not None:
            self.fault(_line(event), None, f"the value{name} has an anchor (got &{event.anchor}); remove it")
        if event.tag is not None:
            self.fault(_line(event), path, f"the value{name} has a tag (got {event.tag}); remove it")
        if isinstance(event, yaml.ScalarEvent):
            node.spelling = event.value
            node.value = read_scalar(event.value) if event.style is None else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            node.value = self._items(path)
        else:
            node.value = self._mapping(path)
        return node

    def _items(self, path: Path) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), None))
        return items

    def _mapping(self, path: Path) -> dict[str, Node]:
        nodes: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = _line(event)
            key = self._key(event, path)
            node = self._node(next(self._events), (*path, key or "?"), self._place_of_line(line))
            if key == "<<":
                self.fault(line, None, "merge keys are not supported (got `<<`); write the keys out")
            elif key in nodes:
                first = nodes[key].key_place.where.rpartition(":")[2]
                self.fault(
                    line, None, f"duplicate key `{dotted((*path, key))}`; it stands on line {first} too, keep one"
                )
            elif key is not None:
                nodes[key] = node
        return nodes

    def _key(self, event: yaml.Event, path: Path) -> str | None:
        """Give a key's text; None, with a fault, for what cannot be a key."""
        node = self._node(event, path, None)
        if isinstance(event, yaml.ScalarEvent):
            return str(event.value)
        if not isinstance(event, yaml.AliasEvent):
            self.fault(_line(event), None, f"a key is a word (got {kind_of(node)})")
        return None


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None, event
    return int(event.start_mark.line) + 1
