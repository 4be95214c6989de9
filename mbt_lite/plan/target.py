"""Where the recipe will run: a card of a given size, the card that is here, or this machine's processor."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Literal

from mbt_lite.architecture.numbers import Architecture
from mbt_lite.errors import ModelError
from mbt_lite.plan.phases import Setup
from mbt_lite.recipe.schema import Recipe

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
    """Ask nvidia-smi for the first card's name and memory in bytes; None without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    asked = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=20)
    first = done.stdout.strip().splitlines()[:1]
    if done.returncode != 0 or not first:
        return None
    name, _, mebibytes = first[0].rpartition(",")
    return name.strip(), int(mebibytes) * 2**20


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
    """Resolve `auto` keys for a target. On CUDA: bfloat16 (cards since 2020), and unsloth, as `make setup-gpu` has it.

    Raises ModelError for a precision that the plan does not know.
    """
    dtype, backend = recipe.model.dtype, recipe.model.backend
    if dtype == "auto":
        dtype = "bfloat16" if target.device == "cuda" or _multiplies_bfloat16() else "float32"
    if backend == "auto":
        backend = "unsloth" if target.device == "cuda" else "transformers"
    sizes = {"bfloat16": 2, "float32": 4}
    if dtype not in sizes:
        raise ModelError(f"model.dtype: unknown to the plan (got {dtype}); use {' or '.join(sizes)}")
    quantized = recipe.model.quantization == "nf4"
    plain = recipe.lora.variant != "dora" and recipe.lora.dropout == 0
    share = recipe.grpo.vllm_memory_fraction if recipe.grpo.rollout_engine == "vllm" else 0.0
    engine = int(share * target.memory)
    return Setup(architecture, target.device, backend, sizes[dtype], quantized, recipe.lora.rank, plain, engine)
