"""Recipe files written line by line, so that a test can name the line of a fault."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from recipe_texts import Problems

from mbt_lite.errors import RecipeError
from mbt_lite.recipe import load_recipe


@pytest.fixture
def problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Problems:
    """Give a function that loads a text as `a.yaml` and returns the lines of its refusal (none: an empty list)."""
    monkeypatch.chdir(tmp_path)

    def load(text: str, overrides: Sequence[str] = ()) -> list[str]:
        Path("a.yaml").write_text(text, encoding="utf-8")
        try:
            load_recipe(Path("a.yaml"), overrides)
        except RecipeError as error:
            return str(error).split("\n")
        return []

    return load
