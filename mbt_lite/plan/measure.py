"""`plan --measure`: the phases of sft and grpo measured, each stage in a fresh process (see `trial`)."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import tempfile
from pathlib import Path

from mbt_lite.errors import ModelError
from mbt_lite.plan.stages import Lengths
from mbt_lite.recipe.schema import Recipe
from mbt_lite.student import process
from mbt_lite.student.backend import backend_of

MEASURED = ("sft", "grpo")


def measure(stage: str, recipe: Recipe, lengths: Lengths, vram_gib: float | None) -> dict[str, int]:
    """Give the measured peak of each phase of a stage, in bytes over the memory before loading.

    Raises ModelError if the steps did not run through, with the last line that the process said.
    """
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"backend": backend_of(recipe, stage)})})
    request = {
        "stage": stage,
        "recipe": recipe.model_dump(mode="json"),
        "lengths": dataclasses.asdict(lengths),
        "vram_gib": vram_gib,
    }
    with tempfile.TemporaryDirectory() as folder:
        asked, told = Path(folder) / "request.json", Path(folder) / "result.json"
        asked.write_text(json.dumps(request), encoding="utf-8")
        command = process.command(recipe.model.backend, "mbt_lite.plan.trial", str(asked), str(told))
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"ended with exit code {done.returncode}"]
            raise ModelError(
                f"{stage}: the measured steps failed ({said[-1]}); see `mbt-lite plan --fit` if memory ran out"
            )
        peaks: dict[str, int] = json.loads(told.read_text(encoding="utf-8"))
        return peaks
