"""Decode the completions of one prompt against one copy of its keys and values.

A group of G completions shares its prompt, so the prompt is computed once and its KV cache is kept once: memory for
prompts falls G-fold, and attention over them turns from G thin products into one thick product, which is what a CPU
wants (its fused attention kernel is made for long queries and takes most of a decoding step otherwise).

Works for every transformers model with full attention that goes through `AttentionInterface` (Llama, SmolLM2, Qwen2.5,
Qwen3). Notation: P prompts, G completions each, B = P·G rows, H key/value heads, R query heads per key/value
head, S prompt tokens, T completion tokens so far, D head size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

NAME = "mbt_shared_prefix"


class SharedPrefixLayer(DynamicLayer):
    """Keys and values of one layer: the prompt's [P, H, S, D] once, the completions' [B, H, T, D] in a buffer."""

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capacity = capacity
        self.length = 0
        self.prompt_keys: Tensor | None = None
        self.prompt_values: Tensor | None = None

    def start_decoding(self, samples: int) -> None:
        """Keep what was prefilled as the prompt part, and make room for `samples` completions of each prompt."""
        assert self.keys is not None
        assert self.values is not None
        self.prompt_keys, self.prompt_values = self.keys, self.values
        prompts, heads, _, size = self.keys.shape
        shape = (prompts * samples, heads, self.capacity, size)
        self.keys, self.values = self.keys.new_empty(shape), self.values.new_empty(shape)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append [B, H, 1, D] while decoding, and give [B, H, T, D]; before that, fill the prompt part."""
        if self.prompt_keys is None:
            return super().update(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        end = self.length + key_states.shape[-2]
        assert end <= self.capacity, (end, self.capacity)
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        """Count the tokens seen: prompt (padding included) and completion."""
        if self.prompt_keys is None:
            return super().get_seq_length()
        return int(self.prompt_keys.shape[-2]) + self.length

    def keep(self, prompts: Tensor, rows: Tensor) -> None:
        """Keep only these prompts and these rows, in this order."""
        assert self.keys is not None
        assert self.values is not None
        assert self.prompt_keys is not None
        assert self.prompt_values is not None
        self.prompt_keys, self.prompt_values = self.prompt_keys[prompts], self.prompt_values[prompts]
        self.keys, self.values = self.keys[rows], self.values[rows]


class SharedPrefixCache(Cache):
    """A cache of `SharedPrefixLayer`s with the mask of the prompts' left padding.

    Shapes: prompt_mask [P, S], True where a token stands.
    """

    def __init__(self, layers: int, capacity: int, prompt_mask: Tensor) -> None:
        self.shared_layers = [SharedPrefixLayer(capacity) for _ in range(layers)]
        super().__init__(layers=list(self.shared_layers))
        self.prompt_mask = prompt_mask

    def start_decoding(self, samples: int) -> None:
        """Turn from prefill to decoding `samples` completions of each prompt."""
        for layer in self.shared_layers:
            layer.start_decoding(samples)

    def prompt_of(self, attention: nn.Module) -> tuple[Tensor, Tensor] | None:
        """Give the prompt's keys and values [P, H, S, D] at the layer of an attention module; None in prefill."""
        assert isinstance(attention.layer_idx, int), attention
        layer = self.shared_layers[attention.layer_idx]
        if layer.prompt_keys is None or layer.prompt_values is None:
            return None
        return layer.prompt_keys, layer.prompt_values

    def keep(self, prompts: Tensor, samples: int) -> None:
        """Keep only these prompts and their completions. Shapes: prompts [P'] of indices."""
        rows = (prompts[:, None] * samples + torch.arange(samples, device=prompts.device)).flatten()
        for layer in self.shared_layers:
            layer.keep(prompts, rows)
        self.prompt_mask = self.prompt_mask[prompts]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    shared_prefix: SharedPrefixCache | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend from one new token a row to its prompt and its own completion; prefill goes through SDPA.

    Shapes: query [B, H·R, 1, D], key and value [B, H, T, D] (completion part) -> [B, 1, H·R, D]
    """
    prompt = shared_prefix.prompt_of(module) if shared_prefix is not None else None
    if shared_prefix is None or prompt is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    prompt_key, prompt_value = prompt
    prompts, heads, prompt_length, size = prompt_key.shape
    rows = query.shape[0]
    samples, repeats = rows // prompts, query.shape[1] // heads
    query = query * (scaling if scaling is not None else size**-0.5)
    own_query = query.view(rows, heads, repeats, size)
    # [P, H, G·R, D]: all completions of a prompt ask it in one product
    prompt_query = own_query.view(prompts, samples, heads, repeats, size).transpose(1, 2)
    prompt_query = prompt_query.reshape(prompts, heads, samples * repeats, size)
    prompt_scores = (prompt_query @ prompt_key.transpose(-1, -2)).float()
    prompt_scores.masked_fill_(~shared_prefix.prompt_mask[:, None, None, :], float("-inf"))
    prompt_scores = prompt_scores.view(prompts, heads, samples, repeats, prompt_length).transpose(1, 2)
    own_scores = (own_query @ key.transpose(-1, -2)).float()
    scores = torch.cat([prompt_scores.reshape(rows, heads, repeats, prompt_length), own_scores], dim=-1)
    weights = scores.softmax(dim=-1).to(value.dtype)
    prompt_weights = weights[..., :prompt_length].reshape(prompts, samples, heads, repeats, prompt_length)
    prompt_weights = prompt_weights.transpose(1, 2).reshape(prompts, heads, samples * repeats, prompt_length)
    mixed = (prompt_weights @ prompt_value).view(prompts, heads, samples, repeats, size).transpose(1, 2)
    output = mixed.reshape(rows, heads, repeats, size) + weights[..., prompt_length:] @ value
    return output.reshape(rows, 1, heads * repeats, size), None


def _mask(q_length: int, **kwargs: Any) -> Tensor | None:
    """Give SDPA's mask for prefill; while decoding the cache holds the mask."""
    return None if q_length == 1 else sdpa_mask(q_length=q_length, **kwargs)


def is_supported(model: nn.Module) -> bool:
    """Tell whether every layer of the model attends fully, and through transformers' interface."""
    config = model.config.get_text_config()  # type: ignore[union-attr, operator]
    kinds = getattr(config, "layer_types", None)
    return bool(model._supports_attention_backend) and (kinds is None or set(kinds) == {"full_attention"})


def register() -> None:
    """Make the attention known to transformers under `NAME`; doing it twice is harmless."""
    AttentionInterface.register(NAME, attend)
    if NAME not in ALL_MASK_ATTENTION_FUNCTIONS:
        AttentionMaskInterface.register(NAME, _mask)
