"""How far what wrote the rollouts is from what is trained: log-probabilities of the same tokens, by the same weights.

Other kernels and roundings make an engine another policy than training's (https://fengyao.notion.site/off-policy-rl).
Nothing here corrects for that; it is measured, so that a run which learns badly can be told from one with bad rollouts.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from mbt_lite.methods.method import Rule

# Rollouts that are compared in a step, in whole groups: enough for the figures, a small part of the step's work.
COMPARED = 16
_KL, _MOST_KL = "mismatch/kl", 0.01


def mismatch(sampled: Sequence[Tensor], trained: Sequence[Tensor]) -> dict[str, float]:
    """Give the figures of completions, of log-probabilities by what sampled their tokens and by what is trained.

    `mismatch/kl`: KL(sampled || trained) in nats a token, by the estimator w - 1 - log w of the weights
    w = trained / sampled (http://joschu.net/blog/kl-approx.html). `mismatch/token_ess`, `mismatch/completion_ess`: the
    effective sample size (sum w)^2 / sum w^2 as a share of the tokens, and of the completions by their products of
    weights; 1 where both are one policy. `mismatch/largest`: the largest |log w| of a token.

    Shapes: [tokens of the completion] each, at least one in all.
    """
    log_weights = [ours.double() - theirs.double() for theirs, ours in zip(sampled, trained, strict=True)]
    tokens = torch.cat(log_weights)
    return {
        # what is no number is as far away as a number can be, so that it is warned of
        _KL: float((tokens.expm1() - tokens).mean().nan_to_num(nan=sys.float_info.max)),
        "mismatch/token_ess": _effective_share(tokens),
        "mismatch/completion_ess": _effective_share(torch.stack([one.sum() for one in log_weights])),
        "mismatch/largest": float(tokens.abs().max()),
    }


def healthy_mismatch() -> tuple[Rule, ...]:
    """Give the range of the KL; reports of runs that broke down for this reason show it in hundredths of a nat."""
    above = (
        "rollouts are written by another policy than the one that is trained; set grpo.rollout_engine to local, or "
        "model.dtype to float32"
    )
    return (Rule(_KL, -math.inf, _MOST_KL, above=above),)


def compared_rows(rows: int, group_size: int) -> int:
    """Give how many of so many rows are compared: whole groups, one at least."""
    return min(rows, -(-COMPARED // group_size) * group_size)


def _effective_share(log_weights: Tensor) -> float:
    """Give the effective sample size as a share of the number of weights; their scale does not matter."""
    weights = (log_weights - log_weights.max()).exp()
    return float(weights.sum().square() / weights.square().sum()) / len(weights)
