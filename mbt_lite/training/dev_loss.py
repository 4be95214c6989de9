"""A dev loss for `sft`: traces held out by question, the adapter with the lowest loss kept, an early stop.

What has been measured stands in metrics.jsonl, so a resumed run knows it; the best adapter stands beside the
checkpoints and is written before the row that tells of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from mbt_lite.errors import RunError
from mbt_lite.files import read_jsonl
from mbt_lite.records import Trace

DEV_LOSS = "dev/loss"


def hold_out(traces: Sequence[Trace], count: int, seed: int) -> tuple[list[Trace], list[Trace]]:
    """Split traces into (to train, held out): at least `count` are held out, whole questions at a time.

    The order of both parts is that of the traces. Raises RunError if nothing would be left to train.
    """
    questions = sorted({trace.question_id for trace in traces})
    random.Random(seed).shuffle(questions)
    held: set[str] = set()
    while questions and sum(trace.question_id in held for trace in traces) < count:
        held.add(questions.pop())
    to_train = [trace for trace in traces if trace.question_id not in held]
    if not to_train:
        raise RunError(f"sft.held_out_traces: nothing is left to train of {len(traces)} traces (got {count}); lower it")
    return to_train, [trace for trace in traces if trace.question_id in held]


class BestAdapter(TrainerCallback):
    """Keep the adapter with the lowest dev loss; stop after `patience` losses in a row without a new lowest one.

    It must come before the log that writes `metrics`: the adapter is on disk before the row that tells of it. Of
    several processes all come to the same decisions, and one saves.
    """

    def __init__(self, metrics: Path, save: Callable[[], None], patience: int | None) -> None:
        self.metrics, self.save, self.patience = metrics, save, patience
        self.losses: list[tuple[int, float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Read what was measured before the checkpoint that the run goes on from."""
        self.losses = [(step, loss) for step, loss in dev_losses(self.metrics) if step <= state.global_step]

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Compare a dev loss with those before."""
        if logs is None or "eval_loss" not in logs:
            return
        self.losses.append((state.global_step, logs["eval_loss"]))
        best_step = lowest(self.losses)[0]
        if best_step == state.global_step and state.is_world_process_zero:
            self.save()
        worse = sum(step > best_step for step, loss in self.losses)
        if self.patience is not None and worse >= self.patience:
            control.should_training_stop = True
            # a run that goes on from here would make one step more: it is to come here again, and stop
            control.should_save = False


def dev_losses(metrics: Path) -> list[tuple[int, float]]:
    """Read (step, dev loss) of every evaluation so far."""
    return [(row["step"], row[DEV_LOSS]) for row in read_jsonl(metrics, step=int) if DEV_LOSS in row]


def lowest(losses: Sequence[tuple[int, float]]) -> tuple[int, float]:
    """Give (step, dev loss) of the best evaluation, the earliest of equals."""
    return min(losses, key=lambda entry: (entry[1], entry[0]))
