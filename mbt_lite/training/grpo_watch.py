"""Watch over a GRPO run: healthy ranges of each step's figures, and the end of a run in which nothing is learned.

The ranges are the method's. A figure that stays outside for `WARN_AFTER` steps is said once, with what it means and
what to turn; it is said again only after it was inside. Every warning is a row of `grpo/warnings.jsonl`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from mbt_lite.console import Screen
from mbt_lite.errors import ModelError
from mbt_lite.files import Journal, read_jsonl, write_jsonl
from mbt_lite.methods.method import Rule

WARN_AFTER = 3
_DEAD = "zero_variance_share"


class AtSave(TrainerCallback):
    """Call a function after each checkpoint."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Act."""
        self.act()


class Watch:
    """Remembers for how many steps each figure has been outside its range."""

    def __init__(self, table: Sequence[Rule]) -> None:
        self.table = table
        self._sides: dict[str, tuple[str | None, int]] = {rule.name: (None, 0) for rule in table}

    def see(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Take the figures of a step (with its `step`); give a warning for each that has now stayed outside too long.

        A figure that the row lacks, such as the entropy of a step without a forward pass, leaves its count as it is.
        """
        warnings = []
        for rule in self.table:
            if rule.name not in row or not math.isfinite(row[rule.name]) or row["step"] < rule.from_step:
                continue
            value = row[rule.name]
            side = rule.side(value)
            before, count = self._sides[rule.name]
            count = count + 1 if side == before else 1
            self._sides[rule.name] = side, count
            if side is not None and count == WARN_AFTER:
                warnings.append(
                    {
                        "step": row["step"],
                        "name": rule.name,
                        "value": value,
                        "limit": rule.low if side == "below" else rule.high,
                        "side": side,
                        "meaning": rule.below if side == "below" else rule.above,
                    }
                )
        return warnings


class WatchCallback(TrainerCallback):
    """Warn by the table; stop after `stop_after` steps in a row in which every group was equal.

    `stopped` says why a run ended early. Raises ModelError if all its steps were dead: nothing was learned.
    """

    def __init__(self, folder: Path, table: Sequence[Rule], stop_after: int | None, console: Screen) -> None:
        self.metrics, self.path = folder / "metrics.jsonl", folder / "warnings.jsonl"
        self.watch, self.stop_after, self.console = Watch(table), stop_after, console
        self.dead, self.lived = 0, False
        self.stopped: str | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """On resume: forget warnings of steps that are made again, and see the others' figures once more."""
        rows = [row for row in read_jsonl(self.path, step=int) if row["step"] <= state.global_step]
        write_jsonl(self.path, rows)
        for row in read_jsonl(self.metrics, step=int):
            if row["step"] <= state.global_step:
                self.watch.see(row)
                self._count(row)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Judge the figures of one step."""
        if not logs or _DEAD not in logs:
            return
        row = {"step": state.global_step, **logs}
        warnings = self.watch.see(row)
        with Journal(self.path) as journal:
            journal.extend(warnings)
        for warning in warnings:
            said = f"{warning['value']:.3g}, {warning['side']} {warning['limit']:g} for {WARN_AFTER} steps"
            self._say(f"grpo step {warning['step']}: {warning['name']} is {said}: {warning['meaning']}")
        self._count(row)
        if self.stop_after is not None and self.dead >= self.stop_after:
            self._stop(state.global_step, control)

    def _count(self, row: Mapping[str, Any]) -> None:
        if _DEAD in row:
            self.dead = self.dead + 1 if row[_DEAD] == 1.0 else 0
            self.lived = self.lived or row[_DEAD] < 1.0

    def _stop(self, step: int, control: Any) -> None:
        turn = (
            "set grpo.prefilter to start, raise grpo.group_size or grpo.temperature, or weigh more reward terms; "
            "grpo.stop_after_dead_steps sets how long to wait"
        )
        said = f"all rewards of each group were equal for {self.dead} steps (got to step {step})"
        if not self.lived:
            raise ModelError(f"grpo: {said}, and no step taught anything; {turn}")
        self.stopped = said
        self._say(f"grpo: stopped, {said}; {turn}")
        control.should_training_stop = True
        control.should_save = True

    def _say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)
