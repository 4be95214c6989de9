"""A run folder in which stages of a small recipe have begun."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mbt_lite.files import Journal
from mbt_lite.run_dir import RunDir

RECIPE: Mapping[str, Any] = {"model": {"name": "tiny"}, "gen": {"seed": 0, "batch_size": 4}, "sft": {"epochs": 1.0}}
RESUMABLE = frozenset({"gen.batch_size"})


def changed(key: str, value: object) -> dict[str, Any]:
    """Give the recipe with one dotted key changed."""
    section, _, name = key.partition(".")
    return {**RECIPE, section: {**RECIPE[section], name: value}}


def start_stage(path: Path, stage: str) -> RunDir:
    """Let a stage of the recipe have begun."""
    run = RunDir.open(path, RECIPE, RESUMABLE)
    with run.locked(stage):
        begin(run, stage)
    return run


def begin(run: RunDir, stage: str) -> None:
    """Let a stage have begun."""
    with Journal(run.stage_dir(stage) / "rows.jsonl") as journal:
        journal.append({"id": 1})
