"""The phases of a training step by name, so that running out of memory can say where (`mbt_lite.memory.in_phase`)."""

from __future__ import annotations

import types
from typing import Any

from mbt_lite.memory import in_phase


class NamedPhases:
    """A mixin for trainers, before the trainer it names the phases of."""

    model: Any

    def compute_loss(self, *arguments: Any, **keywords: Any) -> Any:
        """Compute the loss of a micro-batch, in training or in an evaluation."""
        with in_phase("forward" if self.model.training else "evaluation"):
            return super().compute_loss(*arguments, **keywords)  # type: ignore[misc]

    def training_step(self, *arguments: Any, **keywords: Any) -> Any:
        """Train on a micro-batch: what has no name of its own in there is the backward pass."""
        with in_phase("backward"):
            return super().training_step(*arguments, **keywords)  # type: ignore[misc]

    def create_optimizer(self, *arguments: Any, **keywords: Any) -> Any:
        """Create the optimizer; its states are allocated in its first step."""
        optimizer = super().create_optimizer(*arguments, **keywords)  # type: ignore[misc]
        # a method, for the learning rate's schedule binds it anew
        optimizer.step = types.MethodType(in_phase("optimizer")(type(optimizer).step), optimizer)
        return optimizer

    def _save_checkpoint(self, *arguments: Any, **keywords: Any) -> Any:
        with in_phase("save"):
            return super()._save_checkpoint(*arguments, **keywords)  # type: ignore[misc]
