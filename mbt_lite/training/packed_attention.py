"""Attention over rows packed into one sequence without padding, where rows with one prompt share its computation.

A packed sequence is a chain of segments. Each segment attends causally to itself and, before that, to all of the one
segment it continues; nothing else is seen::

    segment   prompt A  completion A1  completion A2  prompt B  completion B1
    continues    -        prompt A       prompt A        -         prompt B

So a group of G completions costs S + G·T tokens in every linear layer instead of G·(S + T), exactly: positions are
given, and the numbers are those of separate rows up to rounding. A training row without a shared prompt is a segment of
its own (`end_to_end`). The layout travels to the attention as the keyword `packed_layout` of the model's forward;
without it this is SDPA.

Works for the models of `shared_prefix.is_supported`. The switch has to stay on until backward is done, because gradient
checkpointing runs the attention again there: `enable` sets it for good.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

NAME = "mbt_packed"


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """Tokens `start` to `end` of a packed sequence, continuing those from `prompt_start` to `prompt_end` (may be none).

    `mask` [1, 1, T, S + T] is True where a token sees a key; None where plain causal attention does.
    """

    start: int
    end: int
    prompt_start: int
    prompt_end: int
    mask: Tensor | None


PackedLayout = tuple[Segment, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class PackedSequence:
    """Rows as one sequence. Shapes: input_ids and position_ids [1, N]; the layout's segments cover 0..N in order."""

    input_ids: Tensor
    position_ids: Tensor
    layout: PackedLayout

    def forward_arguments(self) -> dict[str, Any]:
        """Give the keywords for the model's forward.

        The mask tells transformers not to make one of its own, and those who sum it how many tokens there are.
        """
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "attention_mask": torch.ones_like(self.input_ids, dtype=torch.bool)[:, None, None],
            "packed_layout": self.layout,
            "use_cache": False,
        }


def pack(groups: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]], device: torch.device) -> PackedSequence:
    """Pack groups of (prompt, its continuations); a prompt may be empty or have no continuation.

    Order in the sequence: prompt, its continuations, next prompt.
    """
    ids: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []

    def add(tokens: Sequence[int], prompt_start: int, prompt_end: int) -> None:
        seen = prompt_end - prompt_start
        if tokens:
            mask = _continuation_mask(len(tokens), seen, device) if seen else None
            segments.append(Segment(len(ids), len(ids) + len(tokens), prompt_start, prompt_end, mask))
            ids.extend(tokens)
            positions.extend(range(seen, seen + len(tokens)))

    for prompt, continuations in groups:
        start = len(ids)
        add(prompt, start, start)
        for continuation in continuations:
            add(continuation, start, start + len(prompt))
    return PackedSequence(torch.tensor([ids], device=device), torch.tensor([positions], device=device), tuple(segments))


def end_to_end(row_lengths: Sequence[int]) -> PackedLayout:
    """Lay out rows that share nothing, one after the other."""
    ends = list(itertools.accumulate(row_lengths))
    return tuple(
        Segment(end - length, end, end - length, end - length, None)
        for end, length in zip(ends, row_lengths, strict=True)
    )


def _continuation_mask(length: int, seen: int, device: torch.device) -> Tensor:
    """Let T tokens see all S tokens before them and themselves causally. Shapes: -> [1, 1, T, S + T]."""
    return torch.ones((1, 1, length, seen + length), dtype=torch.bool, device=device).tril(diagonal=seen)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packed_layout: PackedLayout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend within a packed sequence; without a layout, as SDPA does.

    Shapes: query [1, H·R, N, D], key and value [1, H, N, D] -> [1, N, H·R, D]
    """
    if packed_layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    outputs = []
    for segment in packed_layout:
        own = slice(segment.start, segment.end)
        keys, values = key[:, :, own], value[:, :, own]
        if segment.mask is not None:
            prompt = slice(segment.prompt_start, segment.prompt_end)
            keys = torch.cat([key[:, :, prompt], keys], dim=2)
            values = torch.cat([value[:, :, prompt], values], dim=2)
        output, _ = sdpa_attention_forward(module, query[:, :, own], keys, values, segment.mask, **kwargs)
        outputs.append(output)
    return torch.cat(outputs, dim=1), None


def enable(model: nn.Module) -> None:
    """Let a model attend by `attend` from now on; batches without a layout are computed as before."""
    AttentionInterface.register(NAME, attend)
    if NAME not in ALL_MASK_ATTENTION_FUNCTIONS:
        AttentionMaskInterface.register(NAME, sdpa_mask)
    model.config.get_text_config()._attn_implementation = NAME  # type: ignore[union-attr, operator]
