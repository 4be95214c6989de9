"""The recipes and sample questions that come with the program: beside it in a checkout, inside it in a wheel."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from mbt_lite.errors import DataError

_PACKAGE = Path(__file__).parent
RECIPES, SAMPLES = "recipes", "data_samples"


def folder(name: str) -> Path:
    """Give where RECIPES or SAMPLES are."""
    inside = _PACKAGE / "shipped_files" / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def recipes() -> dict[str, Path]:
    """Give the shipped recipes by name."""
    root = folder(RECIPES)
    return {path.stem: path for path in [*sorted(root.glob("*.yaml")), *sorted(root.glob("controls/*.yaml"))]}


def purpose(recipe: Path) -> str:
    """Give what the header of a recipe says first."""
    lines = []
    for line in recipe.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        lines.append(line[2:].strip())
    return re.split(r"[.;] |\.$", " ".join(lines))[0]


def recipe_file(path: Path) -> Path:
    """Give a shipped recipe for its bare name, such as `demo`; every other path as it is."""
    is_name = not path.suffix and len(path.parts) == 1 and not path.exists()
    return recipes().get(path.name, path) if is_name else path


def copy(name: str, target: Path) -> Path:
    """Copy a shipped recipe to a file or into a folder; DataError for another name, or where a file is already."""
    known = recipes()
    if name not in known:
        raise DataError(f"recipes: no such recipe (got {name}); name one of {', '.join(known)}")
    file = target / known[name].name if target.is_dir() else target
    if file.exists():
        raise DataError(f"{file}: is there already; name another file, or delete it")
    shutil.copyfile(known[name], file)
    return file


def samples_file(path: str) -> str:
    """Give a shipped file for `data_samples/NAME` where the working directory has none; every other path as it is."""
    named = Path(path)
    if named.parts[:1] != (SAMPLES,) or named.exists():
        return path
    shipped = folder(SAMPLES).joinpath(*named.parts[1:])
    return str(shipped) if shipped.is_file() else path
