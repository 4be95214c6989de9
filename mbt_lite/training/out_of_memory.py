"""Out of memory, told in one line: in which phase, which two keys cost least to change, what is kept.

The phase is read from the traceback, so nothing has to be noted while training. A kill by the kernel (exit code 137)
raises nothing and cannot be told; what is on disk is kept then too.
"""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from mbt_lite.errors import ModelError
from mbt_lite.recipe import resumable_keys
from mbt_lite.recipe.schema import Recipe
from mbt_lite.training.checkpoints import find_newest_complete

# What CUDA, cuBLAS and the CPU's allocators write.
SIGNS = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory", "not enough memory")
# Functions of ours and of the trainers, none of which calls another of them but the first in a row.
PHASES = {
    "load_student": "load",
    "evaluate": "evaluation",
    "roll_out": "rollouts",
    "_get_per_token_logps_and_entropies": "forward",
    "compute_loss": "forward",
    "backward": "backward",
    "step": "optimizer",
    "_save_checkpoint": "save",
}


@contextlib.contextmanager
def naming_out_of_memory(recipe: Recipe, stage: str, folder: Path) -> Iterator[None]:
    """Turn running out of memory into a ModelError with phase, cure and checkpoint; all else passes."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        phase = phase_of(error)
        wanted = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", str(error))
        size = f" (tried to allocate {wanted[1]})" if wanted else ""
        checkpoint = find_newest_complete(folder / "checkpoints")
        kept = f"the last checkpoint is kept: {checkpoint}" if checkpoint else "there is no checkpoint yet"
        cures = " or ".join(cheapest_cures(recipe, stage, phase))
        raise ModelError(f"{stage} {phase}: out of memory{size}; {cures}; {kept}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory ran out, on a GPU or on the CPU."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in SIGNS)


def phase_of(error: BaseException) -> str:
    """Read from the traceback what was under way; `training` where no frame tells.

    The outermost frame that tells counts: an evaluation has a forward pass, and so has a backward pass that recomputes.
    """
    for frame in traceback.extract_tb(error.__traceback__):
        # a step of anything else is not the optimizer's
        if frame.name in PHASES and (frame.name != "step" or "optim" in frame.filename):
            return PHASES[frame.name]
    return "training"


def cheapest_cures(recipe: Recipe, stage: str, phase: str) -> list[str]:
    """Give the two changes that cost least and are still open, with the values now and whether the run can go on."""
    free = resumable_keys()
    cures = [
        f"{what} `{key}` (got {str(value).lower() if isinstance(value, bool) else value}"
        + (")" if key in free else f", starts {stage} anew)")
        for what, key, value, is_open in _cures(recipe, stage, phase)
        if is_open
    ]
    return cures[:2]


def _cures(recipe: Recipe, stage: str, phase: str) -> Iterator[tuple[str, str, object, bool]]:
    """Give (what to do, key, value now, whether it can still be done), the cheapest first."""
    section = recipe.sft if stage == "sft" else recipe.grpo
    quantization = recipe.model.quantization
    if phase == "rollouts":
        grpo = recipe.grpo
        # the groups of one prompt are generated together, however small the batch
        yield "lower", "grpo.rollout_batch_size", grpo.rollout_batch_size, grpo.rollout_batch_size > grpo.group_size
        yield "lower", "grpo.max_completion_tokens", grpo.max_completion_tokens, True
        yield "lower", "data.max_prompt_tokens", recipe.data.max_prompt_tokens, True
    if phase in ("forward", "backward", "evaluation", "training"):
        checkpointing = section.gradient_checkpointing
        yield "switch on", f"{stage}.gradient_checkpointing", checkpointing, not checkpointing and phase != "evaluation"
        yield "lower", f"{stage}.micro_batch_size", section.micro_batch_size, section.micro_batch_size > 1
        if stage == "sft":
            yield "lower", "sft.max_sequence_tokens", recipe.sft.max_sequence_tokens, True
        else:
            yield "lower", "grpo.max_completion_tokens", recipe.grpo.max_completion_tokens, True
    yield "set to nf4", "model.quantization", quantization, quantization != "nf4"
    yield "set to bfloat16", "model.dtype", recipe.model.dtype, recipe.model.dtype == "float32"
    yield "lower", "lora.rank", recipe.lora.rank, phase != "load" and recipe.lora.rank > 1
    yield "take a smaller", "model.name", recipe.model.name, True
    yield "lower", "data.max_prompt_tokens", recipe.data.max_prompt_tokens, phase != "load"
