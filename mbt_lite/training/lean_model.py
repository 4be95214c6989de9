"""What both trainers do to a student's model before it trains: the same numbers up to rounding, less time and memory.

For the transformers backend and models with full attention (`shared_prefix.is_supported`); what is neither stays as
unsloth or TRL has it.
"""

from __future__ import annotations

from typing import Any

from mbt_lite.training import lm_head, packed_attention
from mbt_lite.training.lora_linear import join_lora


def make_lean(model: Any, temperature: float = 1.0) -> None:
    """Let a peft model that TRL's trainer has prepared attend within packed rows, each LoRA layer one operation.

    On a CPU the head then scores the trained positions only; on CUDA TRL's kernel does so already.
    """
    packed_attention.enable(model)
    join_lora(model)
    base = model.get_base_model()
    if base.device.type == "cpu" and lm_head.is_supported(base):
        lm_head.score_trained_positions(base, temperature)
