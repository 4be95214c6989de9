"""Attention with fewer key heads than query heads (GQA), where SDPA has no fast kernel for it.

Without a mask transformers hands the keys over as they are (`enable_gqa`). On CUDA only the flash, cuDNN and math
kernels take that, and in float32 or below compute capability 8.0 only math is left, which makes a matrix [heads, T, T]:
11.7 GiB in the first layer of 16 prompts of 1,455 tokens (computed for Qwen3-0.6B in float32). With the keys repeated
for each query head, the memory-efficient kernel takes them.
"""

from __future__ import annotations

import torch
from transformers.integrations import sdpa_attention

from mbt_lite.cards import Capability


def has_grouped_kernel(capability: Capability, dtype: torch.dtype) -> bool:
    """Tell whether SDPA on a card has a kernel other than math for grouped keys.

    >>> has_grouped_kernel((7, 5), torch.float16), has_grouped_kernel((8, 6), torch.bfloat16)
    (False, True)
    """
    return capability >= (8, 0) and dtype != torch.float32


def repeat_keys(dtype: torch.dtype) -> bool:
    """Let transformers' SDPA repeat keys in this process if its card needs that; tell whether it does."""
    if not torch.cuda.is_available() or has_grouped_kernel(torch.cuda.get_device_capability(), dtype):
        return False
    sdpa_attention.use_gqa_in_sdpa = _never
    return True


def _never(attention_mask: torch.Tensor | None, key: torch.Tensor, value: torch.Tensor) -> bool:
    return False
