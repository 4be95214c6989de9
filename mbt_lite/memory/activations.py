"""What a training step keeps between forward and backward pass, counted operation by operation.

A saved tensor is one that some operation needs again for its gradient. With 4-bit weights below a float32 adapter that
is more than in 16-bit training: peft casts the input of every linear layer to float32 and keeps the cast, one for each
of q, k, v, gate and up. In float32 nothing is cast, and layers with the same input share it.

Sources: the forward passes of transformers 5.17 (the families of `architecture.numbers`, attention by SDPA), peft 0.21
(`lora/bnb.py`) and TRL 1.16 (`kernels/chunked_logprob.py`). Tests count what torch saves and compare.
"""

from __future__ import annotations

from mbt_lite.architecture.numbers import Architecture
from mbt_lite.model.logit_tiles import CPU_TILE_ENTRIES

FLOAT32 = 4
# TRL projects onto the vocabulary in tiles of at most so many tokens and entries; on a CPU ours are narrower.
TILE_TOKENS = 4096
TILE_ENTRIES = 32768
# Without Triton a tile passes through torch operations. The gradient is the largest moment: logits, scaled logits,
# log-probabilities, probabilities, gradient, and two terms of a sum in float32, and one mask.
CPU_TILE_BYTES = 7 * FLOAT32 + 1


def saved_per_token(a: Architecture, rank: int, dtype_bytes: int, *, row_tokens: int, is_masked: bool) -> int:
    """Give the bytes that one layer saves for one token.

    `is_masked`: rows differ in length, so attention gets a mask (`row_tokens` entries a token) and repeated keys.
    """
    outputs = 7 * rank * FLOAT32
    keys = a.query_size if is_masked and a.kv_heads > 1 else a.kv_size
    attention = (a.query_size + 2 * keys) * dtype_bytes + a.heads * FLOAT32
    # in float32 the output of attention is the input of o_proj, counted there
    attention += a.query_size * dtype_bytes if dtype_bytes < FLOAT32 else 0
    attention += row_tokens * dtype_bytes if is_masked else 0
    mlp = 3 * a.intermediate * dtype_bytes
    return outputs + _saved_inputs(a, dtype_bytes) + attention + mlp + _saved_norms(a)


def _saved_inputs(a: Architecture, dtype_bytes: int) -> int:
    """Count the float32 inputs of the linear layers: casts of their own, or one for all that read the same."""
    if dtype_bytes < FLOAT32:
        return FLOAT32 * sum(linear.n_in for linear in a.linears)
    return FLOAT32 * (2 * a.hidden + a.query_size + a.intermediate)


def _saved_norms(a: Architecture) -> int:
    """Count what norms keep: their input in float32, and one number a row."""
    norms = a.norms_per_layer * (a.hidden + 1) * FLOAT32
    if a.norms_queries:
        norms += (a.query_size + a.heads + a.kv_size + a.kv_heads) * FLOAT32
    return norms


def layer_input_bytes(a: Architecture, dtype_bytes: int) -> int:
    """Give what checkpointing keeps of one layer for one token: its input."""
    return a.hidden * dtype_bytes


def mask_bytes(rows: int, tokens: int, dtype_bytes: int) -> int:
    """Give the mask of attention: true or false, and the same as numbers, for each pair of tokens of a row."""
    return rows * tokens * tokens * (1 + dtype_bytes)


def layer_transient_bytes(a: Architecture, tokens: int, dtype_bytes: int) -> int:
    """Give what one layer needs for a moment: an unpacked weight, and the widest tensors with their gradients."""
    unpacked = max(linear.weights for linear in a.linears) * dtype_bytes
    return unpacked + tokens * a.intermediate * (FLOAT32 + 4 * dtype_bytes)


def logits_tile_bytes(a: Architecture, tokens: int, dtype_bytes: int, *, on_cpu: bool) -> int:
    """Give the logits that exist at once, and the gradient of the hidden states in float32."""
    entries = min(tokens, TILE_TOKENS) * min(CPU_TILE_ENTRIES if on_cpu else TILE_ENTRIES, a.vocabulary)
    hidden = tokens * a.hidden * (FLOAT32 + dtype_bytes)
    return entries * (dtype_bytes + (CPU_TILE_BYTES if on_cpu else 0)) + hidden
