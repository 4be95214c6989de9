"""When checkpoints are written, which are kept, and whose word it is.

By the clock, beside those by steps: what a kill can cost at most is a time, not a number of steps. The newest by step
stay: transformers goes by the files' times, and after a clock was set back deletes each new one.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from mbt_lite.training.checkpoints import newest_first

# the newest, and one more for a kill while it is written
KEPT_CHECKPOINTS = 2


class KeepNewest(TrainerCallback):
    """Delete older checkpoints when a new one is there."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the newest by step; one process deletes."""
        if state.is_world_process_zero:
            for checkpoint in newest_first(Path(args.output_dir))[KEPT_CHECKPOINTS:]:
                shutil.rmtree(checkpoint)


class SaveByMinutes(TrainerCallback):
    """Ask for a checkpoint after the first step that ends `minutes` or more after the last one.

    Clocks differ by a little: of several processes one is followed (`FollowLeader`).
    """

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.clock = minutes * 60, clock
        self.last = clock()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock: loading the model does not count."""
        self.last = self.clock()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask, if it is time."""
        if self.clock() - self.last >= self.seconds:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count from the end of every save, whoever asked for it."""
        self.last = self.clock()


class FollowLeader(TrainerCallback):
    """Take the leader's word on when to save and to stop, for it alone watches; comes after all other callbacks."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Follow."""
        if args.world_size > 1:
            word = [control.should_save, control.should_training_stop]
            control.should_save, control.should_training_stop = broadcast_object_list(word)

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Follow."""
        self.on_step_end(args, state, control)
