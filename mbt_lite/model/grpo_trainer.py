"""TRL's GRPOTrainer, reduced for one card (arXiv 2402.03300, 2503.14476).

Differs from TRL's in three places, none of which changes the loss of the rows that are trained:
1. rollouts come from `generate` (the prompt of a group is computed once; completions are generated in bounded batches);
2. rows whose advantage is zero cost no forward or backward pass: their gradient is zero without a reference model;
3. padding that all rows of a micro-batch share is cut away before the forward pass.
On CUDA unsloth puts its own loss in place of TRL's, past this class: then 2 and 3 do not act, and save nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer


class ReducedGRPOTrainer(GRPOTrainer):
    """GRPOTrainer that trains on the rows with something to learn."""

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        rows = len(inputs["advantages"])
        if self.beta == 0.0:
            inputs = live_rows(inputs)
        live = len(inputs["advantages"])
        if live == 0:
            # a loss that reaches the parameters, so that backward works, with zero gradients
            return sum((p.sum() * 0.0 for p in model.parameters() if p.requires_grad), torch.zeros(()))
        loss: Tensor = super()._compute_loss(model, without_shared_padding(inputs))  # type: ignore[no-untyped-call]
        # these two divide by the number of rows they see; dapo divides by the tokens of the whole step
        return loss * (live / rows) if self.loss_type in ("grpo", "dr_grpo") else loss


ROW_KEYS = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages", "old_per_token_logps")


def live_rows(inputs: dict[str, Any]) -> dict[str, Any]:
    """Keep the rows whose advantage is not zero."""
    live = inputs["advantages"] != 0
    return {key: value[live] if key in ROW_KEYS else value for key, value in inputs.items()}


def without_shared_padding(inputs: dict[str, Any]) -> dict[str, Any]:
    """Cut columns that are padding in every row: prompts are padded left, completions right."""
    start = int(inputs["prompt_mask"].any(dim=0).int().argmax())
    end = int(inputs["completion_mask"].any(dim=0).sum())
    cut = dict(inputs)
    for key in ("prompt_ids", "prompt_mask"):
        cut[key] = inputs[key][:, start:]
    for key in ("completion_ids", "completion_mask", "old_per_token_logps"):
        if key in inputs:
            cut[key] = inputs[key][:, :end]
    return cut
