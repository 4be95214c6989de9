"""Reads a recipe strictly: the file, the `--set` values on top, and every problem of both at once, by line.

Three rounds find the problems: the YAML itself (`tree`), single values (`schema`, worded by `faults`), relations
between sections (`checks`). A round does not wait for the one before: relations are checked among
the keys that are sound.
"""

from __future__ import annotations

import difflib
import itertools
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mbt_lite.errors import RecipeError
from mbt_lite.recipe.checks import conflicts
from mbt_lite.recipe.endpoint import without_keys
from mbt_lite.recipe.faults import GONE, RENAMED, schema_fault
from mbt_lite.recipe.keys import field_at, section_of
from mbt_lite.recipe.schema import Recipe
from mbt_lite.recipe.tree import Fault, Node, Path, dotted, read_setting, read_tree
from mbt_lite.recipe.variants import TAGS
from mbt_lite.shipped import samples_file

# Stands in for a required text that is missing or wrong, so that the relations of the other keys can be checked.
_STAND_IN = "stand-in"


def load_recipe(path: pathlib.Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and its `section.key=value` overrides.

    Raises RecipeError with every problem, sorted by line, the overrides' last.
    """
    root, faults = read_tree(_read_text(path), str(path))
    if root is None:
        raise _refusal(faults)
    _leave_out_idle(root)
    faults += _apply(overrides, root)
    already = {fault.path for fault in faults if fault.path is not None}
    recipe, errors = _validate(root.plain())
    faults += [schema_fault(error, root) for error in errors if error["loc"] not in already]
    sound = recipe if recipe is not None else _sound_part(root.plain(), errors)
    if sound is not None:
        faults += _relations(sound, root, already | {error["loc"] for error in errors})
    if faults or recipe is None:
        raise _refusal(faults)
    return _with_samples(recipe)


def _with_samples(recipe: Recipe) -> Recipe:
    """Find shipped samples wherever the program is called from."""
    data = recipe.data
    found = {name: samples_file(getattr(data, name).path) for name in ("train", "dev")}
    parts = {name: getattr(data, name).model_copy(update={"path": path}) for name, path in found.items()}
    return recipe.model_copy(update={"data": data.model_copy(update=parts)})


def _refusal(faults: Sequence[Fault]) -> RecipeError:
    # a key may stand wherever it was pasted
    return RecipeError(without_keys(str(fault)) for fault in sorted(faults, key=lambda fault: fault.place.order))


def _read_text(path: pathlib.Path) -> str:
    """Read the file; every way it cannot be read is a RecipeError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        near = difflib.get_close_matches(path.stem, sorted(other.stem for other in path.parent.glob("*.yaml")), n=1)
        cure = f"did you mean {path.with_name(near[0])}.yaml?" if near else "give the path of a recipe file"
        raise RecipeError([f"{path}: no such file; {cure}"]) from error
    except IsADirectoryError as error:
        raise RecipeError([f"{path}: a folder, not a file; give the path of a recipe file"]) from error
    except UnicodeDecodeError as error:
        raise RecipeError([f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8"]) from error
    except OSError as error:
        raise RecipeError([f"{path}: cannot be read ({error.strerror}); give the path of a recipe file"]) from error


def _leave_out_idle(root: Node) -> None:
    """Leave out keys that went and say nothing: the recipe that an older run folder keeps names every key."""
    for key in (*RENAMED, *GONE):
        *above, name = key.split(".")
        section, node = root.at(tuple(above)), root.at((*above, name))
        if section is not None and isinstance(section.value, dict) and node is not None and _is_idle(key, node.plain()):
            del section.value[name]


def _is_idle(key: str, value: object) -> bool:
    """Tell whether what a key that went holds changes nothing: what holds anyway, or nothing."""
    if key in GONE:
        return value == GONE[key].idle
    return all(one is None for one in (value.values() if isinstance(value, dict) else [value]))


def _apply(overrides: Sequence[str], root: Node) -> list[Fault]:
    """Put overrides into the tree, over what the file says."""
    faults: list[Fault] = []
    seen: set[Path] = set()
    for index, setting in enumerate(overrides):
        path, node, refused = read_setting(setting, index)
        faults += refused
        if node is None or refused:
            continue
        if path in seen:
            faults.append(Fault(None, node.place, f"`{dotted(path)}` is set twice; keep one"))
        seen.add(path)
        _insert(root, path, node)
    return faults


def _insert(root: Node, path: tuple[str, ...], node: Node) -> None:
    """Put a node at a path, making the sections above it; a value where a section should be is left to the schema."""
    section = root.value
    for part in path[:-1]:
        if isinstance(section, dict):
            section = section.setdefault(part, Node({}, node.place, node.key_place)).value
    if isinstance(section, dict):
        section[path[-1]] = node


def _validate(tree: object) -> tuple[Recipe | None, list[ErrorDetails]]:
    """Check a plain tree against the schema; JSON, because strict pydantic takes a JSON list for a tuple."""
    try:
        return Recipe.model_validate_json(json.dumps(tree)), []
    except ValidationError as error:
        errors = error.errors(include_url=False)
        return None, [{**one, "loc": tuple(part for part in one["loc"] if part not in TAGS)} for one in errors]


def _sound_part(tree: Any, errors: list[ErrorDetails]) -> Recipe | None:
    """Give the recipe that is left without its wrong values: defaults in their place, `_STAND_IN` where there is none.

    None if the tree is not even JSON.
    """
    for _ in range(5):
        if any(not error["loc"] for error in errors):
            return None
        for error in errors:
            _mend(tree, error["loc"], error["type"] == "missing")
        recipe, errors = _validate(tree)
        if recipe is not None:
            return recipe
    raise AssertionError(f"no sound part is left: {errors}")


def _mend(tree: Any, path: Path, is_missing: bool) -> None:
    """Leave a wrong value, or a list with one, out of its section; put a stand-in where a required one is missing."""
    keys = list(itertools.takewhile(lambda part: isinstance(part, str), path))
    for key in keys[:-1]:
        tree = tree[key]
    if is_missing and len(keys) == len(path):
        tree[keys[-1]] = {} if section_of(field_at(path)) is not None else _STAND_IN
    else:
        # Two items of one list may both be wrong.
        tree.pop(keys[-1], None)


def _relations(recipe: Recipe, root: Node, faulty: set[Path]) -> Iterator[Fault]:
    """Give the conflicts among sound keys, each at the last of its keys that is written anywhere."""
    for keys, message in conflicts(recipe):
        paths = [tuple(key.split(".")) for key in keys]
        if any(path[: len(bad)] == bad or bad[: len(path)] == path for path in paths for bad in faulty):
            continue
        written = [node.key_place for path in paths if (node := root.at(path)) is not None]
        yield Fault(paths[0], max(written, default=root.place), message)
