"""Several processes at once: what `torchrun` or `accelerate launch` told this one.

Data-parallel training runs the same command in each process. One of them leads: it alone writes the run folder and
speaks; the others train on their share of the rows. Without a launcher a process leads itself.
"""

from __future__ import annotations

import dataclasses
import os

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
    """Refuse what cannot be shared: only sft is data-parallel, the other stages would do everything in each process."""
    if launch.processes > 1 and stages != ("sft",):
        raise RunError(
            f"{', '.join(stages)}: only sft runs in several processes (got {launch.processes}); "
            "start the others without a launcher"
        )
