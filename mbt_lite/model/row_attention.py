"""Attention within each row of a batch that holds its rows end to end, without padding.

Each row attends to itself alone, so a row's numbers do not depend on what stands beside it, and neither padding nor a
mask is computed. Works for every transformers model with full attention that goes through `AttentionInterface`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import AttentionInterface

NAME = "mbt_rows"


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    row_lengths: Sequence[int],
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend causally within each row. Shapes: query [1, H·R, T, D], key and value [1, H, T, D] -> [1, T, H·R, D]"""
    repeats = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    rows = zip(*(torch.split(states, list(row_lengths), dim=2) for states in (query, key, value)), strict=True)
    mixed = [
        nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling).transpose(1, 2)
        for q, k, v in rows
    ]
    return torch.cat(mixed, dim=1), None


def is_supported(model: Any) -> bool:
    """Tell whether every layer of a model attends fully, and through transformers' interface."""
    kinds = getattr(model.config.get_text_config(), "layer_types", None)
    return bool(model._supports_attention_backend) and (kinds is None or set(kinds) == {"full_attention"})


def _no_mask(*_: Any, **__: Any) -> None:
    """Rows are apart by construction."""


@contextlib.contextmanager
def within_rows(config: Any) -> Iterator[None]:
    """Let a model of this config attend within rows while the block runs; it then needs `row_lengths`."""
    AttentionInterface.register(NAME, attend)
    if NAME not in ALL_MASK_ATTENTION_FUNCTIONS:
        AttentionMaskInterface.register(NAME, _no_mask)
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
