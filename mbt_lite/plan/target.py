"""Where the recipe will run: a card of a given size, the card that is here, or this machine's processor."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Literal

from mbt_lite.architecture.numbers import Architecture
from mbt_lite.cards import best_card, read_cards
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
    """A device and its bytes; `said` names it."""

    device: Literal["cpu", "cuda"]
    memory: int
    said: str

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
        return Target("cuda", card[1], card[0])
    return Target("cpu", free_memory_bytes(), "this machine's processor")


def read_card() -> tuple[str, int] | None:
    """Give name and memory in bytes of the card that stages use, as nvidia-smi tells them; None without one.

    A card that shares the machine's memory has what is free there. Of a driver that does not answer, doctor tells.
    """
    try:
        card = best_card(read_cards())
    except ModelError:
        return None
    if card is None:
        return None
    return card.name, free_memory_bytes() if card.memory is None else card.memory


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
    """Resolve `auto` keys for a target. On CUDA: 16 bits, and in each stage its backend, as `make setup-gpu` has it.

    Raises ModelError for a precision that the plan does not know.
    """
    dtype = recipe.model.dtype
    if dtype == "auto":
        dtype = "bfloat16" if target.device == "cuda" or _multiplies_bfloat16() else "float32"
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
