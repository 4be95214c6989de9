"""Bytes that follow exactly from an architecture: weights in 16, 32 or 4 bits, and the KV cache.

4 bits are bitsandbytes' nf4 with double quantization (arXiv 2305.14314): two weights a byte; one scale for 64 weights,
itself stored in one byte; one float32 scale for 256 of those scales. Each linear layer also keeps two tables of code
values (16 and 256 float32 numbers) and one float32 offset. Tests compare the sums with quantized models.
"""

from __future__ import annotations

import math

from mbt_lite.architecture.numbers import Architecture

_WEIGHTS_PER_SCALE = 64
_SCALES_PER_SCALE = 256
# 16 code values of the weights, 256 of the scales, one offset; float32 each.
_TABLE_BYTES = 4 * (16 + 256 + 1)


def nf4_bytes(weights: int) -> int:
    """Give the bytes of one linear layer's weights in nf4 with double quantization."""
    scales = math.ceil(weights / _WEIGHTS_PER_SCALE)
    return math.ceil(weights / 2) + scales + 4 * math.ceil(scales / _SCALES_PER_SCALE) + _TABLE_BYTES


def nf4_weights(architecture: Architecture) -> int:
    """Give the bytes of all linear layers in nf4."""
    return architecture.layers * sum(nf4_bytes(linear.weights) for linear in architecture.linears)


def kv_bytes_per_token(layers: int, kv_size: int, dtype_bytes: int) -> int:
    """Give the bytes that one token of one row keeps in so many layers: a key and a value of all key heads together.

    >>> kv_bytes_per_token(36, 8 * 128, 2)  # Qwen3-4B in bfloat16
    147456
    """
    return 2 * layers * kv_size * dtype_bytes


def kv_cache_bytes(architecture: Architecture, tokens: int, dtype_bytes: int) -> int:
    """Give the bytes of the KV cache of one row of so many tokens; sliding layers keep their window only."""
    sliding, kv_size = architecture.sliding_layers, architecture.kv_size
    in_full = tokens * kv_bytes_per_token(architecture.layers - sliding, kv_size, dtype_bytes)
    return in_full + min(tokens, architecture.sliding_window) * kv_bytes_per_token(sliding, kv_size, dtype_bytes)


# Prompts are prefilled together up to so many tokens, one of them at least.
PREFILL_TOKENS = 2048


def prompt_slots(rows: int, samples: int) -> int:
    """Give how many prompts are kept for so many rows under way, each prompt with so many samples.

    With just enough for the rows, a prompt's longest sample would keep the next prompt waiting: at long-tailed lengths
    a third of the rows would idle. With twice as many and one, fewer than a twentieth do.

    >>> prompt_slots(32, 8), prompt_slots(36, 1)
    (9, 36)
    """
    return min(rows, 2 * math.ceil(rows / samples) + 1)
