"""Recipe files written line by line, so that a test can name the line of a fault."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mbt_lite.errors import RecipeError
from mbt_lite.recipe import load_recipe

# A whole recipe in three lines: what a test adds begins on line 4.
MINIMAL = """\
model: {name: tiny}
data: {train: {path: train.jsonl},
  dev: {path: dev.jsonl}}
"""

Problems = Callable[..., list[str]]


@pytest.fixture
def problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Problems:
    """Give a function that loads a text as `a.yaml` and returns the lines of its refusal (none: an empty list)."""
    monkeypatch.chdir(tmp_path)

    def load(text: str, overrides: Sequence[str] = ()) -> list[str]:
        Path("a.yaml").write_text(text, encoding="utf-8")
        try:
            load_recipe(Path("a.yaml"), overrides)
        except RecipeError as error:
            assert str(error) == "\n".join(error.problems)
            return list(error.problems)
        return []

    return load
