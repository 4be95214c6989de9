"""Decode completions against one copy of their prompt's keys and values, in slots that are used again and again.

The samples of a prompt share its prompt, so it is computed once and its KV cache is kept once: memory for prompts falls
G-fold, and attention over them turns from G thin products into one thick product. A row slot holds one completion and
a prompt slot one prompt; a completion that ends leaves its row to the next, of whatever prompt, so rows differ in how
far they have come: each has its own column to write to and its own mask. The two parts, prompt and completion, are
attended to one by one and joined by their log-sum-exp (arXiv 2205.14135, section 3.1), as flash decoding does.

Works for every transformers model with full attention that goes through `AttentionInterface` (Llama, SmolLM2, Qwen2.5,
Qwen3). Notation: P prompt slots, G samples each (lanes), R row slots, H key/value heads, Q query heads per key/value
head, S tokens of a prompt, T of a completion, D head size.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import AttentionInterface

NAME = "mbt_shared_prefix"
# What is masked gets no weight, and a slot in which all is masked still has finite numbers.
MASKED = -1e30


class SlotLayer(DynamicLayer):
    """Keys and values of one layer: the prompts' [P, H, S, D] and the completions' [R, H, T, D]."""

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # held weakly: in a circle with its layers the cache would stay on the card until Python looks for circles
        self.cache: SlotCache = weakref.proxy(cache)
        self.prompt_keys = self.prompt_values = torch.empty(0)

    def make_room(self, like: Tensor) -> None:
        """Allocate the slots for keys and values that are alike: [_, H, _, D]."""
        (slots, room), (rows, columns) = self.cache.prompt_room, self.cache.completion_room
        heads, size = like.shape[1], like.shape[3]
        # zeros: what is masked must be finite
        self.prompt_keys, self.prompt_values = (like.new_zeros(slots, heads, room, size) for _ in range(2))
        self.keys, self.values = (like.new_zeros(rows, heads, columns, size) for _ in range(2))

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write [R, H, 1, D] at each row's column, and give the columns in use [R, H, T, D]."""
        assert self.keys is not None
        assert self.values is not None
        cache = self.cache
        self.keys[cache.rows, :, cache.columns] = key_states[:, :, 0]
        self.values[cache.rows, :, cache.columns] = value_states[:, :, 0]
        return self.keys[:, :, : cache.width], self.values[:, :, : cache.width]

    def get_seq_length(self) -> int:
        """Give the columns in use; rows have their positions from elsewhere."""
        return self.cache.width

    def keep(self, slots: Tensor, rows: Tensor) -> None:
        """Keep only these prompt and row slots, in this order."""
        assert self.keys is not None
        assert self.values is not None
        self.prompt_keys, self.prompt_values = self.prompt_keys[slots], self.prompt_values[slots]
        self.keys, self.values = self.keys[rows], self.values[rows]


class SlotCache(Cache):
    """The slots of all layers, and which row is which prompt's.

    `prompt_room` is (P, S), `completion_room` (R, T). Shapes: columns [R], the next one of each row; row_lanes [R], the
    lane of each row's prompt (slot · G + sample); lane_rows [P·G], its inverse, any row where a lane is free.
    """

    def __init__(
        self, layers: int, samples: int, prompt_room: tuple[int, int], completion_room: tuple[int, int], like: Tensor
    ) -> None:
        self.prompt_room, self.completion_room, self.samples = prompt_room, completion_room, samples
        self.slot_layers = [SlotLayer(self) for _ in range(layers)]
        super().__init__(layers=list(self.slot_layers))
        device = like.device
        self.attend_part = fused if device.type == "cpu" else written_out
        self.width = self.prompt_width = 1
        self.rows = torch.arange(completion_room[0], device=device)
        self.columns = torch.zeros_like(self.rows)
        self.row_lanes = torch.zeros_like(self.rows)
        self.lane_rows = torch.zeros(prompt_room[0] * samples, dtype=torch.long, device=device)
        self.prompt_mask = like.new_full((prompt_room[0], 1, 1, prompt_room[1]), MASKED)
        self.mask = self.prompt_mask

    def store(self, prefilled: DynamicCache, slots: list[int], lengths: list[int]) -> None:
        """Put prompts that were prefilled side by side into their slots; what follows their lengths is padding."""
        for layer, found in zip(self.slot_layers, prefilled.layers, strict=True):
            assert isinstance(found, DynamicLayer)
            assert isinstance(found.keys, Tensor)
            assert isinstance(found.values, Tensor)
            if not layer.prompt_keys.numel():
                layer.make_room(found.keys)
            for place, (slot, length) in enumerate(zip(slots, lengths, strict=True)):
                layer.prompt_keys[slot, :, :length] = found.keys[place, :, :length]
                layer.prompt_values[slot, :, :length] = found.values[place, :, :length]
        for slot, length in zip(slots, lengths, strict=True):
            self.prompt_mask[slot] = MASKED
            self.prompt_mask[slot, ..., :length] = 0

    def mask_columns(self) -> None:
        """Mask, of the columns in use, those behind each row's own."""
        behind = torch.arange(self.width, device=self.rows.device)[None] > self.columns[:, None]
        zeros = self.prompt_mask.new_zeros(behind.shape)
        self.mask = zeros.masked_fill_(behind, MASKED)[:, None, None]

    def keep(self, slots: Tensor, rows: Tensor) -> None:
        """Keep only these prompt and row slots, in this order; lanes are to be set anew."""
        for layer in self.slot_layers:
            layer.keep(slots, rows)
        self.prompt_room, self.completion_room = (len(slots), self.prompt_room[1]), (len(rows), self.completion_room[1])
        self.prompt_mask = self.prompt_mask[slots]
        self.rows, self.columns, self.row_lanes = self.rows[: len(rows)], self.columns[rows], self.row_lanes[rows]
        self.lane_rows = self.lane_rows.new_zeros(len(slots) * self.samples)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    shared_prefix: SlotCache | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend from one new token a row to its prompt and its own completion; prefill goes through SDPA.

    Shapes: query [R, H·Q, 1, D], key and value [R, H, T, D] (completion part) -> [R, 1, H·Q, D]
    """
    if shared_prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    assert isinstance(module.layer_idx, int), module
    cache, layer = shared_prefix, shared_prefix.slot_layers[module.layer_idx]
    rows, heads, size = len(query), key.shape[1], query.shape[-1]
    scale = scaling if scaling is not None else size**-0.5
    asked = query.view(rows, heads, -1, size)
    own, own_mass = cache.attend_part(asked, key, value, cache.mask, scale)
    # [P, H, G·Q, D]: all samples of a prompt ask it in one product
    lanes = asked.index_select(0, cache.lane_rows).view(-1, cache.samples, *asked.shape[1:]).transpose(1, 2)
    used = slice(cache.prompt_width)
    found, mass = cache.attend_part(
        lanes.reshape(len(lanes), heads, -1, size),
        layer.prompt_keys[:, :, used],
        layer.prompt_values[:, :, used],
        cache.prompt_mask[..., used],
        scale,
    )
    both = torch.cat([found.float(), mass[..., None]], dim=-1)
    both = both.view(len(lanes), heads, cache.samples, -1, size + 1).transpose(1, 2).flatten(0, 1)
    both = both.index_select(0, cache.row_lanes)
    share = torch.sigmoid(both[..., -1:] - own_mass[..., None])
    output = torch.lerp(own.float(), both[..., :-1], share).to(value.dtype)
    return output.reshape(rows, 1, -1, size), None


def fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Attend to a part of what is seen by torch's kernel for CPUs; give the output and the log of its mass.

    Shapes: query [B, H, N, D], key and value [B, H, S, D], mask [B, 1, 1, S] -> [B, H, N, D], [B, H, N] (float32)
    """
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    output, mass = kernel(query, key, value, attn_mask=mask, scale=scale)
    return output, mass


def written_out(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Do the same by plain products: the fused kernels for CUDA want masks and sizes of their own."""
    scores = ((query * scale) @ key.transpose(-1, -2)).float() + mask
    mass = scores.logsumexp(dim=-1)
    return (scores - mass[..., None]).exp().to(value.dtype) @ value, mass


def _mask(**_: Any) -> None:
    """Give no mask: prompts are padded on the right, where causal attention does not look."""


def is_supported(model: nn.Module) -> bool:
    """Tell whether every layer of the model attends fully, and through transformers' interface."""
    config = model.config.get_text_config()  # type: ignore[union-attr, operator]
    kinds = getattr(config, "layer_types", None)
    # Mistral, Phi-3 and others do not list their layers: with a window all have it
    is_full = getattr(config, "sliding_window", None) is None if kinds is None else set(kinds) == {"full_attention"}
    return bool(model._supports_attention_backend) and is_full


@contextlib.contextmanager
def attending(model: Any) -> Iterator[None]:
    """Let a model attend through `attend` for a while."""
    AttentionInterface.register(NAME, attend)
    if NAME not in ALL_MASK_ATTENTION_FUNCTIONS:
        AttentionMaskInterface.register(NAME, _mask)
    before = model.config._attn_implementation
    model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = before
