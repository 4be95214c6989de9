"""Checkpoints by the clock, beside those by steps: what a kill can cost at most is a time, not a number of steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback


class SaveByMinutes(TrainerCallback):
    """Ask for a checkpoint after the first step that ends `minutes` or more after the last one."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.clock = minutes * 60, clock
        self.last = clock()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock: loading the model does not count."""
        self.last = self.clock()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask, if it is time."""
        due = [self.clock() - self.last >= self.seconds]
        if args.world_size > 1:
            # clocks differ by a little, and all processes save or none
            due = broadcast_object_list(due)
        if due[0]:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count from the end of every save, whoever asked for it."""
        self.last = self.clock()
