"""Recipes: what one may say (`schema`), how it is read (`load`), and what others need to know of it (`views`)."""

from mbt_lite.recipe.faults import RENAMED
from mbt_lite.recipe.load import load_recipe
from mbt_lite.recipe.views import json_schema, resolved, resumable_keys, written

__all__ = ["RENAMED", "json_schema", "load_recipe", "resolved", "resumable_keys", "written"]
