"""Adapters that leave the house: as a plain peft folder, merged into 16-bit weights, or as GGUF for Ollama."""

from typing import Literal

Form = Literal["adapter", "merged", "gguf"]
Stage = Literal["sft", "grpo"]
