"""What a training step keeps between forward and backward pass, counted operation by operation.

A saved tensor is one that some operation needs again for its gradient. `training/lean_model.py` decides how a student
is computed: rows packed or padded, LoRA joined or by peft, which casts the input of every 4-bit linear layer to
float32 and keeps the cast, one for each of q, k, v, gate and up.

Sources: the forward passes of transformers 5.17 (the families of `architecture.numbers`, attention by SDPA), peft 0.21
(`lora/bnb.py`), TRL 1.16 (`kernels/chunked_logprob.py`), and `packed_attention`, `lora_linear`, `lm_head` of
`training/`. Tests count what torch saves and compare.
"""

from __future__ import annotations

import dataclasses

from mbt_lite.architecture.numbers import Architecture
from mbt_lite.training.logit_tiles import CPU_TILE_ENTRIES, HEAD_TILE_ENTRIES

FLOAT32 = 4
# TRL projects onto the vocabulary in tiles of at most so many tokens and entries; on a CPU ours are narrower.
_TILE_TOKENS = 4096
_TILE_ENTRIES = 32768
# Without Triton a tile passes through torch operations. The gradient is the largest moment: logits, scaled logits,
# log-probabilities, probabilities, gradient, and two terms of a sum in float32, and one mask.
_CPU_TILE_BYTES = 7 * FLOAT32 + 1


@dataclasses.dataclass(frozen=True, slots=True)
class Computing:
    """How a trainer computes: rows packed or padded (`packed_attention`), LoRA joined or peft's (`lora_linear`)."""

    packs_rows: bool
    joins_lora: bool


@dataclasses.dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows of one length, of which each has `trained_tokens` with loss at its end.

    `shared_prompts`: how many prompts the rows have between them, computed once each; 0 where every row stands alone.
    """

    rows: int
    tokens: int
    trained_tokens: int
    shared_prompts: int = 0

    @property
    def prompt_tokens(self) -> int:
        """Tokens of a row that its neighbours share: all before the last one of the prompt."""
        return self.tokens - self.trained_tokens - 1 if self.shared_prompts else 0

    @property
    def computed_tokens(self) -> int:
        """Tokens that pass the layers."""
        if not self.shared_prompts:
            return self.rows * self.tokens
        # a completion begins with the prompt's last token and leaves its own last out
        return self.shared_prompts * self.prompt_tokens + self.rows * self.trained_tokens


def saved_by_layer(a: Architecture, rank: int, dtype_bytes: int, batch: MicroBatch, how: Computing) -> int:
    """Give the bytes that one layer saves for a micro-batch."""
    linears = _saved_by_joined_lora if how.joins_lora else _saved_by_peft
    per_token = linears(a, rank, dtype_bytes) + 3 * a.intermediate * dtype_bytes + _saved_norms(a)
    attention = _saved_by_packed_attention if how.packs_rows else _saved_by_padded_attention
    return batch.computed_tokens * per_token + attention(a, dtype_bytes, batch)


def _saved_by_joined_lora(a: Architecture, rank: int, dtype_bytes: int) -> int:
    """Count for a token the input of the linear layers, one for all that read the same, and what A makes of it."""
    return dtype_bytes * (2 * a.hidden + a.query_size + a.intermediate + 7 * rank)


def _saved_by_peft(a: Architecture, rank: int, dtype_bytes: int) -> int:
    """Count the same in float32: in 16 bits each layer casts its input for itself."""
    inputs = 2 * a.hidden + a.query_size + a.intermediate
    if dtype_bytes < FLOAT32:
        inputs = sum(linear.n_in for linear in a.linears)
    return FLOAT32 * (inputs + 7 * rank)


def _saved_by_packed_attention(a: Architecture, dtype_bytes: int, batch: MicroBatch) -> int:
    """Count queries, keys, values, the output before it is joined, and one number a head.

    A completion behind a shared prompt has a mask, and keys and values of its own, repeated for each query head.
    """
    saved = batch.computed_tokens * ((2 * a.query_size + 2 * a.kv_size) * dtype_bytes + a.heads * FLOAT32)
    if batch.prompt_tokens:
        seen = batch.prompt_tokens + batch.trained_tokens
        saved += batch.rows * seen * (2 * a.query_size + batch.trained_tokens) * dtype_bytes
    return saved


def _saved_by_padded_attention(a: Architecture, dtype_bytes: int, batch: MicroBatch) -> int:
    """Count the same for rows that differ in length: they have a mask, and repeated keys and values."""
    is_masked = batch.rows > 1
    keys = a.query_size if is_masked and a.kv_heads > 1 else a.kv_size
    saved = (a.query_size + 2 * keys) * dtype_bytes + a.heads * FLOAT32
    # in float32 the output is the input of o_proj, counted there
    saved += a.query_size * dtype_bytes if dtype_bytes < FLOAT32 else 0
    saved += batch.tokens * dtype_bytes if is_masked else 0
    return batch.rows * batch.tokens * saved


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


def layer_transient_bytes(a: Architecture, tokens: int, dtype_bytes: int, how: Computing) -> int:
    """Give what the backward pass of one layer needs besides what the layer saved.

    With joined LoRA the most is held at the product of gate and up, whose two gradients stand beside what was saved and
    the gradient of the residual; where tokens are few, while a weight is unpacked.
    """
    unpacked = max(linear.weights for linear in a.linears) * dtype_bytes
    wide = tokens * a.intermediate * dtype_bytes
    if how.joins_lora:
        return max(2 * wide, wide + unpacked) + tokens * a.hidden * dtype_bytes
    return unpacked + 4 * wide + tokens * a.intermediate * FLOAT32


def forward_bytes(a: Architecture, tokens: int, dtype_bytes: int) -> int:
    """Give what a pass without gradients holds: gate, up and product of one layer; embedding, residuals and a norm."""
    return tokens * (3 * a.intermediate + 4 * a.hidden) * dtype_bytes


def logits_tile_bytes(a: Architecture, tokens: int, dtype_bytes: int, *, on_cpu: bool) -> int:
    """Give the logits that exist at once in TRL's head, and the gradient of the hidden states in float32."""
    entries = min(tokens, _TILE_TOKENS) * min(CPU_TILE_ENTRIES if on_cpu else _TILE_ENTRIES, a.vocabulary)
    hidden = tokens * a.hidden * (FLOAT32 + dtype_bytes)
    return entries * (dtype_bytes + (_CPU_TILE_BYTES if on_cpu else 0)) + hidden


def head_tile_bytes(a: Architecture, trained_tokens: int, dtype_bytes: int) -> int:
    """Give the same of our head (`lm_head`): logits, probabilities, their product and cast; hidden states, slopes."""
    entries = a.vocabulary * min(trained_tokens, max(1, HEAD_TILE_ENTRIES // a.vocabulary))
    cast = dtype_bytes if dtype_bytes < FLOAT32 else 0
    return entries * (3 * FLOAT32 + cast) + 2 * trained_tokens * a.hidden * dtype_bytes
