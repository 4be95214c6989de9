"""The numbers of a decoder, and the weights that follow from them.

Four families are known, by transformers' `model_type`. They differ in three places that cost memory:

| family | biases of q, k, v | norms per layer | norms of queries and keys |
|---|---|---|---|
| llama (SmolLM2 too) | as `attention_bias` says, on o too | 2 | no |
| qwen2 | always | 2 | no |
| qwen3 | as `attention_bias` says, on o too | 2 | yes |
| gemma3_text | as `attention_bias` says, on o too | 4 | yes |

Source: the model classes of transformers 5.17; tests compare every count with the classes themselves.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

Family = Literal["llama", "qwen2", "qwen3", "gemma3_text"]
FAMILIES: tuple[str, ...] = get_args(Family)


@dataclasses.dataclass(frozen=True, slots=True)
class Linear:
    """One linear layer: y [out] = W [out, in] x [in], with a bias or without."""

    name: str
    n_in: int
    n_out: int
    has_bias: bool

    @property
    def weights(self) -> int:
        """Count the weights without the bias."""
        return self.n_in * self.n_out


@dataclasses.dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder. `head_size` times `heads` need not be `hidden`; `sliding_window` holds in `sliding_layers` layers."""

    family: Family
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    is_tied: bool
    has_attention_bias: bool = False
    sliding_window: int = 0
    sliding_layers: int = 0

    @property
    def query_size(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_size

    @property
    def kv_size(self) -> int:
        """Width of all key heads together, which is that of the values."""
        return self.kv_heads * self.head_size

    @property
    def norms_queries(self) -> bool:
        """Whether queries and keys pass a norm of their own."""
        return self.family in ("qwen3", "gemma3_text")

    @property
    def norms_per_layer(self) -> int:
        """Norms over the hidden size in one layer."""
        return 4 if self.family == "gemma3_text" else 2

    @property
    def linears(self) -> tuple[Linear, ...]:
        """Give the linear layers of one decoder layer: those that are stored in 4 bits and carry the adapter."""
        hidden, inner, queries, keys = self.hidden, self.intermediate, self.query_size, self.kv_size
        bias = self.family == "qwen2" or self.has_attention_bias
        return (
            Linear("q_proj", hidden, queries, bias),
            Linear("k_proj", hidden, keys, bias),
            Linear("v_proj", hidden, keys, bias),
            Linear("o_proj", queries, hidden, self.has_attention_bias),
            Linear("gate_proj", hidden, inner, False),
            Linear("up_proj", hidden, inner, False),
            Linear("down_proj", inner, hidden, False),
        )

    @property
    def linear_weights(self) -> int:
        """Count the weights of all linear layers but the head, without biases."""
        return self.layers * sum(linear.weights for linear in self.linears)

    @property
    def other_parameters(self) -> int:
        """Count what is never stored in 4 bits: embedding, an untied head, norms and biases."""
        embeddings = self.vocabulary * self.hidden * (1 if self.is_tied else 2)
        norms = self.norms_per_layer * self.hidden + (2 * self.head_size if self.norms_queries else 0)
        biases = sum(linear.n_out for linear in self.linears if linear.has_bias)
        return embeddings + self.layers * (norms + biases) + self.hidden

    @property
    def parameters(self) -> int:
        """Count all parameters; a tied head counts once."""
        return self.linear_weights + self.other_parameters

    def lora_parameters(self, rank: int) -> int:
        """Count the parameters of an adapter on all linear layers: A [rank, in] and B [out, rank] each."""
        return self.layers * rank * sum(linear.n_in + linear.n_out for linear in self.linears)
