"""What a recipe's header says of its needs is measured, and says where; otherwise it names no figure."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


def header(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_header_names_memory_only_as_measured(path: Path) -> None:
    text = header(path)
    assert not re.search(r"\d\s?Gi?B\b", text) or re.search(r"(?<!not )measured on", text, re.IGNORECASE)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_header_names_its_own_file(path: Path) -> None:
    named = set(re.findall(r"recipes/[\w/]+\.yaml", header(path)))
    assert named == {path.relative_to(ROOT).as_posix()}
