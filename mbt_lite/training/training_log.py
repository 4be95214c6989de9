"""What a trainer tells while it runs: metrics.jsonl on disk, a tracker if there is one, and progress on the console.

Keys are paths: to the trainer's own come `speed/tokens_per_second` (tokens of the rows, padding not counted, over the
time of the step), `memory/peak_gib` (of the GPU; without one the process's resident memory), memory and time of each
phase (`phase_watch`) and, for evaluations, `dev/loss`.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback

from mbt_lite.console import Screen
from mbt_lite.errors import ModelError
from mbt_lite.files import Journal, read_jsonl, write_jsonl
from mbt_lite.memory import peak_bytes
from mbt_lite.progress import time_text
from mbt_lite.training.loss_scale import MOST_SKIPPED
from mbt_lite.training.phase_watch import Noticed, PhaseWatch
from mbt_lite.training.trackers import Track

# What an evaluation says besides its losses: of how fast it was, nothing is kept.
DEV_KEYS = ("eval_loss", "eval_entropy", "eval_mean_token_accuracy")


class TrainingLog(TrainerCallback):
    """Append each log of the trainer to `metrics.jsonl`, move the bar, stop on a loss that is no number.

    `rows_of_step` names what the step just made was trained on. On resume, rows of steps after the checkpoint are
    dropped: they are about to be made again.
    """

    def __init__(
        self,
        path: Path,
        stage: str,
        headline: str,
        console: Screen,
        rows_of_step: Callable[[int], Sequence[str]],
        track: Track,
    ) -> None:
        self.path, self.stage, self.headline = path, stage, headline
        self.warnings = path.with_name("warnings.jsonl")
        self.console, self.rows_of_step, self.track = console, rows_of_step, track
        self.progress: Progress | None = None
        self.journal: Journal | None = None
        self.accelerator: Any = None
        self.skipped = 0
        self.watch: PhaseWatch | None = None

    def quieten(self, trainer: Any) -> None:
        """Take the trainer's own printing away: this log says the same in one line."""
        from transformers import PrinterCallback

        trainer.remove_callback(PrinterCallback)
        self.accelerator = trainer.accelerator

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Drop rows that will be repeated, start the watch and the bar."""
        for path in filter(Path.exists, (self.path, self.warnings)):
            write_jsonl(path, [row for row in read_jsonl(path, step=int) if row["step"] <= state.global_step])
        self.put_back_lost(state)
        self.journal = Journal(self.path)
        self.watch = PhaseWatch(self.stage, state.global_step, self.warn)
        self.started = self.step_began = time.monotonic()
        self.first_step, self.tokens = state.global_step, state.num_input_tokens_seen
        if self.console.is_terminal:
            counts = (TextColumn(self.stage), BarColumn(), MofNCompleteColumn())
            times = (TimeElapsedColumn(), TimeRemainingColumn())
            said = TextColumn("{task.fields[said]}")
            # a step may take minutes: with rich's own half minute no time left would be told
            self.progress = Progress(*counts, *times, said, console=self.console, speed_estimate_period=3600)
            self.task = self.progress.add_task(self.stage, total=state.max_steps, completed=state.global_step, said="")
            self.progress.start()

    def put_back_lost(self, state: Any) -> None:
        """Put rows back that a damaged file has lost, as the checkpoint remembers them: without speed and memory."""
        rows = read_jsonl(self.path, step=int)
        there = {(row["step"], "dev/loss" in row) for row in rows}
        lost = [
            {"step": logs["step"], **(self.dev_values(logs) if "eval_loss" in logs else _finite(logs))}
            for logs in state.log_history
            if (logs["step"], "eval_loss" in logs) not in there and "train_runtime" not in logs
        ]
        if lost:
            write_jsonl(self.path, sorted([*rows, *lost], key=lambda row: row["step"]))
            said = f"{self.stage}: {self.path.name} had lost {len(lost)} rows; the checkpoint's are put in their place"
            self.console.print(said, soft_wrap=True)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock of a step: saving and evaluating stand between steps."""
        self.step_began = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Keep the numbers of one step, or of one evaluation."""
        if logs is None or "train_runtime" in logs:
            return
        assert self.journal is not None
        values = self.dev_values(logs) if "eval_loss" in logs else self.step_values(logs, state)
        self.check_numbers(values, state.global_step)
        seconds = round(time.monotonic() - self.started, 2)
        self.journal.append({"step": state.global_step, "seconds": seconds, **values})
        self.track({key: value for key, value in values.items() if isinstance(value, int | float)}, state.global_step)
        self.say(values, state)

    def dev_values(self, logs: dict[str, Any]) -> dict[str, Any]:
        """Give an evaluation's numbers under our names."""
        return {key.replace("eval_", "dev/", 1): logs[key] for key in DEV_KEYS if key in logs}

    def step_values(self, logs: dict[str, Any], state: Any) -> dict[str, Any]:
        """Give a step's numbers with speed, memory and time."""
        assert self.watch is not None
        values = {**logs, "memory/peak_gib": round(peak_bytes() / 2**30, 3)}
        values |= self.watch.end_step(state.global_step, state.max_steps)
        # a loss of its own in place of TRL's may count no tokens
        if "num_tokens" in logs:
            seconds = time.monotonic() - self.step_began
            values["speed/tokens_per_second"] = round((logs["num_tokens"] - self.tokens) / seconds, 1)
            self.tokens = logs["num_tokens"]
        if self.accelerator is not None and self.accelerator.scaler is not None:
            self.tell_scale(values, self.accelerator.scaler.get_scale())
        return values

    def tell_scale(self, values: dict[str, Any], scale: float) -> None:
        """Add the loss scale of float16 training; a step that it skipped has no gradient norm, unless all are."""
        skipped = not math.isfinite(values.get("grad_norm", 0.0))
        self.skipped = self.skipped + 1 if skipped else 0
        values |= {"loss_scale/scale": scale, "loss_scale/skipped": float(skipped)}
        if skipped and self.skipped <= MOST_SKIPPED:
            del values["grad_norm"]

    def check_numbers(self, values: dict[str, Any], step: int) -> None:
        """Raise ModelError if the loss or its gradient is no number, naming the rows of the step."""
        for key, name in (("loss", "loss"), ("grad_norm", "gradient"), ("dev/loss", "dev loss")):
            if isinstance(values.get(key), float) and not math.isfinite(values[key]):
                # what was evaluated is always the same
                rows = [] if key == "dev/loss" else self.rows_of_step(step)
                got, cure = f"got {values[key]}", f"lower `{self.stage}.learning_rate`"
                if rows:
                    got, cure = f"{got}, trained on {', '.join(rows)}", f"look at these rows, or {cure}"
                raise ModelError(f"{self.stage} step {step}: the {name} is no number ({got}); {cure}")

    def say(self, values: dict[str, Any], state: Any) -> None:
        """Show the step on the bar, or on a line."""
        parts = [
            f"{key} {values[key]:.3f}" for key in (self.headline, "dev/loss") if isinstance(values.get(key), float)
        ]
        if "speed/tokens_per_second" in values:
            parts.append(f"{values['speed/tokens_per_second']:.0f} tokens/s")
        if "memory/peak_gib" in values:
            parts.append(f"{values['memory/peak_gib']:.1f} GiB")
        if self.progress is not None:
            self.progress.update(self.task, completed=state.global_step, said="  ".join(parts))
            return
        left = (time.monotonic() - self.started) / (state.global_step - self.first_step)
        parts.append(f"{time_text(left * (state.max_steps - state.global_step))} left")
        line = f"{self.stage} step {state.global_step}/{state.max_steps}  {'  '.join(parts)}"
        self.console.print(line, soft_wrap=True)

    def warn(self, warning: Noticed) -> None:
        """Say and keep a warning of the watch; from its thread, too."""
        with Journal(self.warnings) as journal:
            journal.append(dataclasses.asdict(warning))
        line = f"{self.stage} step {warning.step}: {warning.meaning}"
        self.console.print(line, soft_wrap=True)

    def close(self) -> None:
        """Stop the watch and the bar and close the file, also after an error."""
        if self.watch is not None:
            self.watch.close()
        if self.progress is not None:
            self.progress.stop()
        if self.journal is not None:
            self.journal.close()


def _finite(logs: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is no number, as the gradient norm of a step that float16's loss scale skipped."""
    return {key: value for key, value in logs.items() if not isinstance(value, float) or math.isfinite(value)}
