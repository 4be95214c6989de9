"""Turns what the schema refuses into lines that say where, what and what to do.

The schema's own messages name types of Python and no lines; these name the key, the text as written and, for a key that
does not exist, the one that was meant or the section it belongs in.
"""

from __future__ import annotations

import difflib
from typing import NamedTuple

from pydantic_core import ErrorDetails, PydanticUndefined

from mbt_lite.recipe.foreign import hint
from mbt_lite.recipe.keys import choices, field_at, known_keys, section_of, section_of_items
from mbt_lite.recipe.tree import Fault, Node, Path, dotted, kind_of

# Keys that went -> where what they said is written now.
RENAMED = {
    "gen.student_base_url": "gen.student.base_url",
    "gen.student_model": "gen.student.model",
    "gen.student_api_key_env": "gen.student.api_key_env",
    "eval.student_base_url": "eval.student.base_url",
    "eval.student_models": "eval.student.models",
    "eval.student_api_key_env": "eval.student.api_key_env",
}

# What pydantic refuses -> (what is wrong with the value, what to write instead).
_WRONG_TYPES = {
    "int_type": ("is not a whole number", "write a whole number"),
    "float_type": ("is not a number", "write a number"),
    "bool_type": ("is neither true nor false", "write true or false"),
    "string_type": ("is not text", "put it in quotes if it is meant as text"),
    "tuple_type": ("is not a list", "write [a, b]"),
    "model_type": ("is a section", "give it keys of its own, or leave it out"),
}


class Gone(NamedTuple):
    """A key, or a section, of older versions: why it went, what it held where it changed nothing, was it `Free`."""

    why: str
    idle: object
    is_free: bool = True


_UNPRICED = "a served student has no prices; delete the line, `budget_tokens` bounds what it is asked"
GONE = {
    "grpo.reward.weights.phases": Gone(
        "the term is gone: words that announce thinking won it; delete the line", 0.0, is_free=False
    ),
    "sft.weight_decay": Gone("an adapter is trained without; delete the line", 0.0, is_free=False),
    "judge.seed": Gone("each try has its own seed, from 0 on; delete the line", 0),
    "eval.bootstrap_samples": Gone("intervals come from 2000 resamples; delete the line", 2000),
    "eval.aes": Gone(
        "the score compares with base, by the weights 1, 3 and 5; delete the section",
        {"base": "base", "alpha": 1.0, "beta": 3.0, "gamma": 5.0},
    ),
    **{
        f"{student}.{key}": Gone(_UNPRICED, None)
        for student in ("gen.student", "eval.student")
        for key in ("budget_usd", "price_per_million_prompt_tokens", "price_per_million_completion_tokens")
    },
}
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def schema_fault(error: ErrorDetails, root: Node) -> Fault:
    """Word one error of `Recipe.model_validate_json` and find its place in the file or on the command line."""
    path, key = error["loc"], dotted(error["loc"])
    if error["type"] == "missing":
        section = root.at(path[:-1])
        assert section is not None, path
        return Fault(path, section.key_place, f"missing key `{key}`; {_what_to_add(path)}")
    node = root.at(path)
    assert node is not None, (path, error)
    if error["type"] == "extra_forbidden":
        return Fault(path, node.key_place, f"unknown key `{key}`; {_what_was_meant(path)}")
    return Fault(path, node.place, _wrong_value(error, f"`{key}`" if key else "the recipe", kind_of(node)))


def _wrong_value(error: ErrorDetails, key: str, got: str) -> str:
    """Word what is wrong with the value of a known key."""
    path, kind = error["loc"], error["type"]
    if kind in _WRONG_TYPES:
        wrong, cure = _WRONG_TYPES[kind]
        return f"{key} {wrong} (got {got}); {cure}{_example(path)}"
    if kind in _BOUNDS:
        bound, word = _BOUNDS[kind]
        return f"{key} is out of range (got {got}); it must be {word} {error['ctx'][bound]:g}"
    if kind == "literal_error":
        known = choices(field_at(path))
        near = difflib.get_close_matches(str(error["input"]), known, n=1)
        cure = f"did you mean {near[0]}?" if near else f"write one of {', '.join(known)}"
        return f"{key} has no such choice (got {got}); {cure}"
    if kind == "string_pattern_mismatch":
        said = _what_it_is(path)
        return f"{key} is not of its form (got {got}); write {said[0].lower()}{said[1:]}"
    return f"{key} is refused (got {got}); {error['msg'].lower()}"


def _example(path: Path) -> str:
    """Give the default of a number as an example, where there is one."""
    default = field_at(path).default if path else PydanticUndefined
    is_number = isinstance(default, int | float) and not isinstance(default, bool)
    return f" such as {default}" if is_number else ""


def _what_to_add(path: Path) -> str:
    """Say what a missing key is for, in the words of the schema."""
    return f"add {'it' if section_of(field_at(path)) is None else 'the section'}: {_what_it_is(path)}"


def _what_it_is(path: Path) -> str:
    """Give the text of a key on one line, however long it is."""
    said = field_at(path).description
    assert said is not None, path
    return " ".join(said.split()).rstrip(".")


def _what_was_meant(path: Path) -> str:
    """Guess what was meant: a name of other tools, nested keys written flat, a name from elsewhere, a near one here."""
    if dotted(path) in GONE:
        return GONE[dotted(path)].why
    if dotted(path) in RENAMED:
        return f"it is `{RENAMED[dotted(path)]}` now"
    section, name = path[:-1], str(path[-1])
    if (meant := hint(dotted(section), name)) is not None:
        return meant
    nested = (*section, *name.split("."))
    known = known_keys()
    if "." in name and nested in known:
        return f"write `{nested[-1]}` in the section `{dotted(nested[:-1])}`"
    homes = [other[:-1] for other in known if other[-1] == name]
    # A section inside this one is the likelier home.
    below = [home for home in homes if section and home[: len(section)] == section]
    if homes:
        return (
            f"it belongs in {' or '.join(f'`{dotted(home)}`' if home else 'the top level' for home in below or homes)}"
        )
    items = section_of_items(field_at(section)) if section else None
    here = list(items.model_fields) if items else [other[-1] for other in known if other[:-1] == section]
    near = difflib.get_close_matches(name, here, n=1)
    return f"did you mean `{near[0]}`?" if near else f"the keys here are {', '.join(here)}"
