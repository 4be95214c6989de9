"""What both trainers are told beside the recipe's keys, by TRL's names.

Every field is set that unsloth would fill with another value than TRL's (read from its classes, version 2026.10.9): the
optimizer in 8 bits, weight decay, emptying the cache, leaving out completions that were cut off. So a recipe trains the
same by both backends. `test_unsloth_configs` holds the fields that the trainers end up with against the recipe.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainingArguments

from mbt_lite.student.backend import Backend


def common_settings(precision: torch.dtype, backend: Backend) -> dict[str, Any]:
    """Give what is the same in sft and grpo for a student that computes in `precision`.

    float16 needs its loss scaled, and so an autocast; bfloat16 runs as the model computes, but unsloth's own kernels
    take its precision from here.
    """
    on_cuda = torch.cuda.is_available()
    return {
        "optim": "adamw_torch_fused",
        "weight_decay": 0.0,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "torch_empty_cache_steps": None,
        "auto_find_batch_size": False,
        "fp16": precision == torch.float16,
        "bf16": precision == torch.bfloat16 and backend == "unsloth" and on_cuda,
        "save_strategy": "steps",
        "logging_steps": 1,
        # a loss that is no number is to be seen, not averaged away
        "logging_nan_inf_filter": False,
        "use_cpu": not on_cuda,
        "dataloader_pin_memory": on_cuda,
        "report_to": [],
        "disable_tqdm": True,
    }


def on_one_card(config: TrainingArguments) -> None:
    """Let a trainer use this process's card alone: with several in sight it would copy the model to each, or refuse."""
    config._n_gpu = min(config.n_gpu, 1)
