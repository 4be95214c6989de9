"""What a trainer tells while it runs: metrics.jsonl on disk and a progress bar on the console."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback

from mbt_lite.errors import ModelError
from mbt_lite.run_dir import Journal, read_jsonl, write_jsonl


class TrainingLog(TrainerCallback):
    """Append each log of the trainer to `metrics.jsonl`, move the bar, stop on a loss that is no number.

    On resume, rows of steps after the checkpoint are dropped: they are about to be made again.
    """

    def __init__(self, path: Path, stage: str, headline: str, console: Console) -> None:
        self.path, self.stage, self.headline = path, stage, headline
        self.console = console
        self.progress: Progress | None = None
        self.started = 0.0

    def quieten(self, trainer: Any) -> None:
        """Take the trainer's own printing away: this log says the same in one line."""
        from transformers import PrinterCallback

        trainer.remove_callback(PrinterCallback)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Drop rows that will be repeated and start the bar."""
        rows = [row for row in read_jsonl(self.path) if row["step"] <= state.global_step]
        write_jsonl(self.path, rows)
        self.journal = Journal(self.path)
        self.started = time.monotonic()
        if self.console.is_terminal:
            counts = (TextColumn(self.stage), BarColumn(), MofNCompleteColumn())
            times = (TimeElapsedColumn(), TimeRemainingColumn())
            self.progress = Progress(*counts, *times, TextColumn("{task.fields[said]}"), console=self.console)
            self.task = self.progress.add_task(self.stage, total=state.max_steps, completed=state.global_step, said="")
            self.progress.start()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Keep the numbers of one step."""
        logs = dict(logs or {})
        if "train_runtime" in logs:
            return
        row = {"step": state.global_step, "seconds": round(time.monotonic() - self.started, 2), **logs}
        if isinstance(row.get("loss"), float) and not math.isfinite(row["loss"]):
            where = f"{self.stage} step {state.global_step}"
            raise ModelError(f"{where}: the loss is no number (got {row['loss']}); lower `{self.stage}.learning_rate`")
        self.journal.append(row)
        said = f"{self.headline} {row[self.headline]:.3f}" if isinstance(row.get(self.headline), float) else ""
        if self.progress is not None:
            self.progress.update(self.task, completed=state.global_step, said=said)
        else:
            self.console.print(f"{self.stage} step {state.global_step}/{state.max_steps}  {said}", highlight=False)

    def close(self) -> None:
        """Stop the bar and close the file, also after an error."""
        if self.progress is not None:
            self.progress.stop()
        if hasattr(self, "journal"):
            self.journal.close()
