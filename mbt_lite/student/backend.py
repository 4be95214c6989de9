"""Which library loads and trains the student in a stage, imported before all that it patches.

Free of torch itself: whoever is about to import torch, transformers, trl or peft calls `import_backend` first. What is
imported stays: a process whose stages take different backends would mix both, so each stage then has its own
(`backends_differ`).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Literal

from mbt_lite.cards import best_card, read_cards, unseen
from mbt_lite.errors import ModelError
from mbt_lite.launch import read_launch
from mbt_lite.recipe.schema import Recipe
from mbt_lite.student.libraries import prepare

Backend = Literal["transformers", "unsloth"]


def preferred_backend(recipe: Recipe, stage: str) -> Backend:
    """Give the backend of a stage on a card with unsloth installed.

    `auto` is unsloth for sft alone: rollouts by our own decoding share a group's prompt, and GRPO's updates too, where
    unsloth copies it for every row. vLLM reads the student's weights through unsloth, and needs it in grpo.
    """
    wanted = recipe.model.backend
    if wanted != "auto":
        return wanted
    by_unsloth = stage == "sft" or (stage == "grpo" and recipe.grpo.rollout_engine == "vllm")
    return "unsloth" if by_unsloth else "transformers"


def backend_of(recipe: Recipe, stage: str) -> Backend:
    """Give the backend of a stage here: unsloth under `auto` needs CUDA, the package, and one process alone.

    Raises ModelError when unsloth is asked for by name and not installed, or in several processes.
    """
    preferred = preferred_backend(recipe, stage)
    if recipe.model.backend == "unsloth":
        return choose_backend("unsloth")
    if preferred == "unsloth" and has_unsloth() and read_launch().processes == 1:
        import torch

        return "unsloth" if torch.cuda.is_available() else "transformers"
    return "transformers"


def backends_differ(recipe: Recipe, stages: Sequence[str]) -> bool:
    """Tell whether stages take different backends here."""
    return len({backend_of(recipe, stage) for stage in stages}) > 1


def in_stage(recipe: Recipe, stage: str) -> Recipe:
    """Give the recipe with the backend of a stage in place of `auto`, and import it."""
    backend = backend_of(recipe, stage)
    import_backend(backend)
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"backend": backend})})


def refuse_unseen_card() -> None:
    """Raise ModelError where nvidia-smi sees a card that torch cannot use: the processor would take weeks instead.

    CUDA_VISIBLE_DEVICES="" says that the processor is meant. Without torch nothing can be loaded, nothing is refused.
    """
    card = best_card(read_cards())
    if card is None or importlib.util.find_spec("torch") is None:
        return
    import torch

    if not torch.cuda.is_available():
        said, cure = unseen(card, torch.version.cuda)
        raise ModelError(f"card: {said}; {cure}; to run on the processor set CUDA_VISIBLE_DEVICES=")


def has_unsloth() -> bool:
    """Tell whether unsloth is installed."""
    return importlib.util.find_spec("unsloth") is not None


def choose_backend(wanted: str) -> Backend:
    """Resolve `model.backend` where no stage is named: `auto` is transformers; ModelError as `backend_of`."""
    if wanted != "unsloth":
        return "transformers"
    if not has_unsloth():
        raise ModelError("model.backend: unsloth is not installed; pip install 'mbt-lite[unsloth]' or use transformers")
    if read_launch().processes > 1:
        raise ModelError("model.backend: unsloth is not tried in several processes; use transformers, or one process")
    return "unsloth"


def import_backend(wanted: str) -> Backend:
    """Resolve `model.backend`; import unsloth if it is the one: it patches the libraries, so it comes before them."""
    prepare()
    backend = choose_backend(wanted)
    if backend == "unsloth":
        importlib.import_module("unsloth")
    return backend
