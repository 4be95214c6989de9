"""Where the recipe will run: a card of a given size, the card that is here, or this machine's processor."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Literal

from mbt_lite.architecture.numbers import Architecture
from mbt_lite.cards import Capability, Card, best_card, precision_of, read_cards
from mbt_lite.errors import ModelError
from mbt_lite.plan.phases import Setup
from mbt_lite.recipe.schema import Recipe
from mbt_lite.run_dir import STAGES
from mbt_lite.student import backend

GIB = 2**30
# A card of 24 GB offers about 23.5 GiB, less what a display takes, cuBLAS works in, and pieces that nothing fits.
CARD_MARGIN = int(0.7 * GIB)
_CPU_INFO = Path("/proc/cpuinfo")
_MEMORY_INFO = Path("/proc/meminfo")


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A device and its bytes; `said` names it. `capability` is None of a processor, and of a card that is not known."""

    device: Literal["cpu", "cuda"]
    memory: int
    said: str
    capability: Capability | None = dataclasses.field(default=None, compare=False)

    @property
    def kept(self) -> int:
        """The bytes of a card that a plan leaves alone."""
        return CARD_MARGIN if self.device == "cuda" else 0

    @property
    def usable(self) -> int:
        """The bytes that a plan may use."""
        return self.memory - self.kept


def choose_target(vram_gib: float | None) -> Target:
    """Take a card of `vram_gib` if that is given, else the card that nvidia-smi knows, else the free memory here."""
    if vram_gib is not None:
        return Target("cuda", int(vram_gib * GIB), f"a {vram_gib:g} GiB card")
    card = read_card()
    if card is not None:
        # without memory of its own it has what is free of the machine's
        return Target("cuda", card.memory or free_memory_bytes(), card.name, card.capability)
    return Target("cpu", free_memory_bytes(), "this machine's processor")


def read_card() -> Card | None:
    """Give the card that stages use, as nvidia-smi tells it; None without one, or where its driver does not answer."""
    try:
        return best_card(read_cards())
    except ModelError:
        return None


def free_memory_bytes() -> int:
    """Read how much memory a new process may take without swapping."""
    if _MEMORY_INFO.exists():
        found = re.search(r"^MemAvailable:\s+(\d+) kB", _MEMORY_INFO.read_text(encoding="ascii"), re.MULTILINE)
        if found is not None:
            return int(found[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _multiplies_bfloat16() -> bool:
    """Tell whether this processor multiplies bfloat16 natively, as `model.dtype: auto` asks."""
    listing = _CPU_INFO.read_text(encoding="utf-8") if _CPU_INFO.exists() else ""
    return bool(re.search(r"\b(avx512_bf16|amx_tile)\b", listing))


def make_setup(recipe: Recipe, architecture: Architecture, target: Target) -> Setup:
    """Resolve `auto` keys for a target. On CUDA: the card's precision, 16 bits where it is not known, and in each stage
    its backend, as `make setup-gpu` has it.

    Raises ModelError for a precision that the plan does not know.
    """
    dtype: str = recipe.model.dtype
    if dtype == "auto":
        on_cuda = target.device == "cuda"
        dtype = "bfloat16" if on_cuda or _multiplies_bfloat16() else "float32"
        dtype = precision_of(target.capability) if on_cuda and target.capability else dtype
    sizes = {"bfloat16": 2, "float16": 2, "float32": 4}
    if dtype not in sizes:
        raise ModelError(f"model.dtype: unknown to the plan (got {dtype}); use {' or '.join(sizes)}")
    # a card elsewhere is planned with unsloth; the one that is here, with what is installed
    has_unsloth = target.device == "cuda" and (backend.has_unsloth() or read_card() is None)
    wanted = {stage: backend.preferred_backend(recipe, stage) for stage in STAGES}
    if not has_unsloth and recipe.model.backend == "auto":
        wanted = dict.fromkeys(STAGES, "transformers")
    common = wanted["eval"]
    quantized = recipe.model.quantization == "nf4"
    plain = recipe.lora.variant != "dora" and recipe.lora.dropout == 0
    share = recipe.grpo.vllm_memory_fraction if recipe.grpo.rollout_engine == "vllm" else 0.0
    engine = int(share * target.memory)
    others = {stage: one for stage, one in wanted.items() if one != common}
    return Setup(architecture, target.device, common, sizes[dtype], quantized, recipe.lora.rank, plain, engine, others)
