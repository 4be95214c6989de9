"""Meeting points of the processes of one launch, by accelerate; alone, a process walks through them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from mbt_lite.errors import ModelError
from mbt_lite.launch import read_launch
from mbt_lite.student.libraries import name_the_cpu, prepare


def wait_for_all() -> None:
    """Go on when every process is here."""
    if read_launch().processes > 1:
        _state().wait_for_everyone()


@contextlib.contextmanager
def leader_first() -> Iterator[None]:
    """Let the leader run the block, then the others: they see what it wrote."""
    if read_launch().processes == 1:
        yield
        return
    with _state().main_process_first():
        yield


def share_of_steps(gradient_accumulation_steps: int) -> int:
    """Give this process's micro-batches of an optimizer step, so that the rows of a step stay what the recipe says.

    Raises ModelError if they cannot be shared evenly.
    """
    processes = read_launch().processes
    share, left = divmod(gradient_accumulation_steps, processes)
    if left:
        raise ModelError(
            f"sft.gradient_accumulation_steps: {processes} processes cannot share them evenly "
            f"(got {gradient_accumulation_steps}); choose a multiple of {processes}"
        )
    return share


def _state() -> Any:
    """Join the group, once; takes this process's GPU, or none."""
    prepare()
    import torch
    from accelerate import PartialState

    cpu = not torch.cuda.is_available()
    if cpu:
        name_the_cpu()
    return PartialState(cpu=cpu)
