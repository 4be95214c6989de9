"""A recipe seen from outside: what a run folder keeps of it, what may change on resume, what an editor checks."""

from __future__ import annotations

from typing import Any

from mbt_lite.recipe.faults import GONE
from mbt_lite.recipe.keys import known_keys
from mbt_lite.recipe.schema import Recipe


def resolved(recipe: Recipe) -> dict[str, Any]:
    """Give every key with its value, defaults included, as JSON types."""
    return recipe.model_dump(mode="json")


def written(recipe: Recipe) -> dict[str, Any]:
    """Give only what differs from the defaults, as JSON types."""
    return recipe.model_dump(mode="json", exclude_defaults=True)


def resumable_keys() -> frozenset[str]:
    """Give the dotted keys that may change between two runs of one stage, those that went included."""
    free = {".".join(path) for path, field in known_keys().items() if field.json_schema_extra == {"resumable": True}}
    went = {key: gone.idle for key, gone in GONE.items() if gone.is_free}
    inside = {f"{key}.{name}" for key, idle in went.items() if isinstance(idle, dict) for name in idle}
    return frozenset(free | went.keys() | inside)


def json_schema() -> dict[str, Any]:
    """Give the JSON Schema of a recipe, each key with its help text, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}
