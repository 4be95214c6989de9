"""Out of memory, told in one line: in which phase, which two keys cost least to change, what is kept.

A kill by the kernel (exit code 137) raises nothing and cannot be told; what is on disk is kept then too.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mbt_lite.errors import ModelError
from mbt_lite.memory import Phase, is_out_of_memory, phase_of
from mbt_lite.recipe import resumable_keys
from mbt_lite.recipe.schema import Recipe
from mbt_lite.training.checkpoints import find_newest_complete

_TRAINING = ("sft", "grpo")


@contextlib.contextmanager
def naming_out_of_memory(recipe: Recipe, stage: str, folder: Path) -> Iterator[None]:
    """Turn running out of memory into a ModelError with phase, cure and what is kept; all else passes."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        phase = phase_of(error)
        wanted = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", str(error))
        size = f" (tried to allocate {wanted[1]})" if wanted else ""
        cures = " or ".join(cheapest_cures(recipe, stage, phase))
        where = f"{stage} {phase}" if phase != "training" else stage
        raise ModelError(f"{where}: out of memory{size}; {cures}; {_kept(stage, folder)}") from error


def _kept(stage: str, folder: Path) -> str:
    if stage not in _TRAINING:
        return "what was completed is kept"
    checkpoint = find_newest_complete(folder / "checkpoints")
    return f"the last checkpoint is kept: {checkpoint}" if checkpoint else "there is no checkpoint yet"


def cheapest_cures(recipe: Recipe, stage: str, phase: Phase) -> list[str]:
    """Give the two changes that cost least and are still open, with the values now and whether the run can go on."""
    free = resumable_keys()
    cures = [
        f"{what} `{key}` (got {str(value).lower() if isinstance(value, bool) else value}"
        + (")" if key in free else f", starts {stage} anew)")
        for what, key, value, is_open in _cures(recipe, stage, phase)
        if is_open
    ]
    return cures[:2]


def _cures(recipe: Recipe, stage: str, phase: Phase) -> Iterator[tuple[str, str, object, bool]]:
    """Give (what to do, key, value now, whether it can still be done), the cheapest first."""
    section: Any = getattr(recipe, stage)
    quantization, trains = recipe.model.quantization, stage in _TRAINING
    if phase in ("rollouts", "scoring") or (phase != "load" and not trains):
        # the completions of one prompt are generated together, however small the batch
        least = {"gen": recipe.gen.rollouts_per_question, "grpo": recipe.grpo.group_size, "eval": 1}[stage]
        key = "rollout_batch_size" if stage == "grpo" else "batch_size"
        yield "lower", f"{stage}.{key}", getattr(section, key), getattr(section, key) > least
        yield "lower", f"{stage}.max_completion_tokens", section.max_completion_tokens, True
        yield "lower", "data.max_prompt_tokens", recipe.data.max_prompt_tokens, True
    elif phase in ("forward", "backward", "evaluation", "training"):
        checkpointing = section.gradient_checkpointing
        yield "switch on", f"{stage}.gradient_checkpointing", checkpointing, not checkpointing and phase != "evaluation"
        yield "lower", f"{stage}.micro_batch_size", section.micro_batch_size, section.micro_batch_size > 1
        if stage == "sft":
            yield "lower", "sft.max_sequence_tokens", recipe.sft.max_sequence_tokens, True
        else:
            yield "lower", "grpo.max_completion_tokens", recipe.grpo.max_completion_tokens, True
    yield "set to nf4", "model.quantization", quantization, quantization != "nf4"
    yield "set to bfloat16", "model.dtype", recipe.model.dtype, recipe.model.dtype == "float32"
    yield "lower", "lora.rank", recipe.lora.rank, trains and phase != "load" and recipe.lora.rank > 1
    yield "take a smaller", "model.name", recipe.model.name, True
    yield "lower", "data.max_prompt_tokens", recipe.data.max_prompt_tokens, phase != "load"
