"""The loss scale of float16 training: torch's own, but a step without any gradient passes.

The scaler multiplies the loss so that small gradients are numbers in float16, and skips a step whose gradients are
none; it begins high, so the first steps are skipped by design. A GRPO step of dead groups has no gradient at all, which
torch's scaler takes for a mistake ("No inf checks were recorded").
"""

from __future__ import annotations

from typing import Any

import torch

# From its first value, 65,536, the scale is halved at each skipped step: after so many in a row it is below 0.01, and
# gradients overflow by themselves.
MOST_SKIPPED = 24


class LossScaler(torch.amp.GradScaler):
    """A gradient scaler for optimizers that may have nothing to step on."""

    def step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> float | None:
        """Step unless a gradient is infinite, or there is none."""
        graded = any(weight.grad is not None for group in optimizer.param_groups for weight in group["params"])
        return super().step(optimizer, *args, **kwargs) if graded else None

    def update(self, new_scale: float | torch.Tensor | None = None) -> None:
        """Adapt the scale to what the last step found, if there was one."""
        if any(state["found_inf_per_device"] for state in self._per_optimizer_states.values()):
            super().update(new_scale)
        else:
            self._per_optimizer_states.clear()


def pass_dead_steps(trainer: Any) -> None:
    """Put our scaler in the place of a trainer's, before it prepares its optimizer; without one nothing is done."""
    accelerator = trainer.accelerator
    if accelerator.scaler is not None:
        accelerator.scaler = LossScaler(accelerator.device.type)
