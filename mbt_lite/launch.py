"""Several processes at once: what `torchrun` or `accelerate launch` told this one.

A command may also be run in a process of its own, to its end (`run_alone`).

Data-parallel training runs the same command in each process. One of them leads: it alone writes the run folder and
speaks; the others train on their share of the rows. Without a launcher a process leads itself.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from mbt_lite.errors import RunError


@dataclasses.dataclass(frozen=True, slots=True)
class Launch:
    """This process's number, from 0, and how many there are."""

    rank: int
    processes: int

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0


def read_launch() -> Launch:
    """Read the launcher's variables RANK and WORLD_SIZE."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return Launch(0, 1)
    return Launch(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def check_can_share(stages: tuple[str, ...], launch: Launch) -> None:
    """Refuse what cannot be shared: gen and eval would do everything in each process."""
    if launch.processes > 1 and stages not in (("sft",), ("grpo",)):
        raise RunError(
            f"{', '.join(stages)}: only sft and grpo run in several processes (got {launch.processes}); start the "
            "others without a launcher, and give gen and eval several servers by a list as `base_url`"
        )


class ProcessEndedError(Exception):
    """A command in a process of its own ended with another exit code than 0, and has said why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


def run_alone(arguments: Sequence[str]) -> None:
    """Run an `mbt-lite` command in a process of its own; ProcessEndedError with its exit code if that is not 0.

    Ctrl-C reaches that process from the terminal, and ends this one by its exit code; SIGTERM is handed on. Raises
    RunError if a signal ended it, which says nothing: 9 is what the kernel sends where memory runs out.
    """
    with subprocess.Popen([sys.executable, "-m", "mbt_lite", *arguments]) as process:
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number)),
        }
        try:
            code = process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if code < 0:
        raise RunError(
            f"{arguments[0]}: ended by signal {-code}; what was finished is kept, run the same command again"
        )
    if code:
        raise ProcessEndedError(code)
