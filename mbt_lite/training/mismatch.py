"""How far an engine's probabilities are from training's: what vLLM drew is trained on as if the trainer had drawn it.

With d = log p - log q of a token that the engine drew (p training's, q the engine's), the divergence KL(q || p) is the
mean of e^d - 1 - d, which is never negative (Schulman, "Approximating KL divergence", 2020: k3). Of the importance
ratios w of whole completions, e to the sum of d, the effective share of N is (sum w)^2 / (N sum w^2): 1 where they
agree, 1/N where one completion outweighs all others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Completions of a step that are compared: each costs a forward pass.
COMPARED = 8


def mismatch(trained: Tensor, drawn: Tensor, mask: Tensor) -> dict[str, float]:
    """Give divergence and effective share as metrics. Shapes: log-probabilities [B, T] twice, mask [B, T]."""
    gaps = torch.where(mask, trained - drawn, 0.0).double()
    divergence = (gaps.exp() - 1 - gaps).sum() / mask.sum()
    ratios = gaps.sum(dim=1)
    # the share does not change with a common factor
    weights = (ratios - ratios.max()).exp()
    share = weights.sum() ** 2 / (len(weights) * (weights**2).sum())
    return {"mismatch/kl": divergence.item(), "mismatch/effective_share": share.item()}


def pad_right(rows: Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """Lay rows out as a tensor. Shapes: B lists of at most T -> like `like` [B, T], zeros after a row's end."""
    padded = torch.zeros(like.shape, device=like.device)
    for row, values in enumerate(rows):
        padded[row, : len(values)] = torch.tensor(values, device=like.device)
    return padded
