"""`plan --measure` and `--simulate`: the phases of sft and grpo run here (see `trial`), or on tensors without data.

Each stage has a fresh process of its own.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from mbt_lite.errors import ModelError
from mbt_lite.plan.phases import CUDA_CONTEXT, Setup
from mbt_lite.plan.stages import Lengths, within_cache
from mbt_lite.recipe.schema import Recipe
from mbt_lite.student import process
from mbt_lite.student.backend import backend_of

MEASURED = ("sft", "grpo")


def measure(stage: str, recipe: Recipe, lengths: Lengths, vram_gib: float | None) -> dict[str, int]:
    """Give the measured peak of each phase of a stage, in bytes: of a card what was allocated, else resident memory.

    Raises ModelError if the steps did not run through, with the last line that the process said.
    """
    backend = backend_of(recipe, stage)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"backend": backend})})
    return _peaks("mbt_lite.plan.trial", backend, stage, recipe, lengths, vram_gib=vram_gib)


def simulate(stage: str, recipe: Recipe, lengths: Lengths, setup: Setup, *, whole: bool = False) -> dict[str, int]:
    """Give the simulated peak of each phase of a stage on a card, in bytes, CUDA's context included.

    By two and three layers, or with `whole` by all of them.
    Raises ModelError where the simulation knows no such student or device.
    """
    if setup.device == "cpu":
        raise ModelError("plan: only a card can be simulated (got this machine's processor); name one by --vram")
    setup = dataclasses.replace(setup, backend="transformers", backends={})
    how = setup.computing
    if not (how.packs_rows and how.joins_lora and setup.dtype_bytes == 2):
        raise ModelError(
            "plan: only full attention, plain LoRA and bfloat16 can be simulated "
            f"(got {recipe.model.name}, lora.variant {recipe.lora.variant}, lora.dropout {recipe.lora.dropout:g}, "
            f"{8 * setup.dtype_bytes} bits); leave --simulate out"
        )
    recipe = within_cache(recipe, setup, lengths)
    peaks = _peaks("mbt_lite.plan.simulation", "transformers", stage, recipe, lengths, whole=whole)
    return {phase: size + CUDA_CONTEXT for phase, size in peaks.items()}


def _peaks(module: str, backend: str, stage: str, recipe: Recipe, lengths: Lengths, **others: Any) -> dict[str, int]:
    request = {"stage": stage, "recipe": recipe.model_dump(mode="json"), "lengths": dataclasses.asdict(lengths)}
    with tempfile.TemporaryDirectory() as folder:
        asked, told = Path(folder) / "request.json", Path(folder) / "result.json"
        asked.write_text(json.dumps(request | others), encoding="utf-8")
        command = process.command(backend, module, str(asked), str(told))
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"ended with exit code {done.returncode}"]
            raise ModelError(
                f"{stage}: the measured steps failed ({said[-1]}); see `mbt-lite plan RECIPE --fit` if memory ran out"
            )
        peaks: dict[str, int] = json.loads(told.read_text(encoding="utf-8"))
        return peaks
