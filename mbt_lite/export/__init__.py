"""Adapters that leave the house: as a plain peft folder, merged into 16-bit weights, or as GGUF for Ollama."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

Form = Literal["adapter", "merged", "gguf"]
Stage = Literal["sft", "grpo"]
What = Literal["adapter", "merged", "traces", "report"]
Base = Literal["trained", "original"]
GgufType = Literal["f16", "q8_0", "q4_k_m"]


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What is to be exported, and how.

    `stage` is the newest without one, `base` the one that was trained, `out` a place in the run; `verify` counts the
    questions that the export answers, `converter` is llama.cpp's script where it is not found by itself.
    """

    form: Form
    stage: Stage | None = None
    base: Base | None = None
    gguf_type: GgufType = "f16"
    verify: int = 24
    converter: Path | None = None
    out: Path | None = None
