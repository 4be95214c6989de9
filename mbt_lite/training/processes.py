"""What the processes of one launch do together, by accelerate; alone, a process walks through it."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from mbt_lite.errors import ModelError, RecipeError
from mbt_lite.launch import read_launch
from mbt_lite.recipe.schema import Grpo
from mbt_lite.student.libraries import name_the_cpu, prepare

if TYPE_CHECKING:
    from torch.nn import Parameter

T = TypeVar("T")
# A process that is still at work is no mistake: one that died ends the launch by itself.
_PATIENCE = datetime.timedelta(days=2)


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


def share_evenly(key: str, count: int) -> int:
    """Give this process's part of what a step has of a key, so that its rows stay what the recipe says.

    Raises ModelError if they cannot be shared evenly.
    """
    processes = read_launch().processes
    share, left = divmod(count, processes)
    if left:
        raise ModelError(
            f"{key}: {processes} processes cannot share them evenly (got {count}); choose a multiple of {processes}"
        )
    return share


def share_rows(grpo: Grpo) -> int:
    """Give how many rows of a step this process trains on, of each group that a question has.

    Raises ModelError if the processes cannot share the questions, RecipeError if micro-batches cannot hold the rows.
    """
    rows = share_evenly("grpo.prompts_per_step", grpo.prompts_per_step) * grpo.group_size
    if rows % grpo.micro_batch_size:
        processes = read_launch().processes
        shared = f" / {processes} processes" if processes > 1 else ""
        raise RecipeError(
            [
                f"grpo.micro_batch_size: must divide prompts_per_step x group_size{shared} = {rows} "
                f"(got {grpo.micro_batch_size})"
            ]
        )
    return rows


def gather(rows: Iterable[T]) -> list[T]:
    """Give the rows of all processes, in the order of the processes; all come here."""
    own, launch = list(rows), read_launch()
    if launch.processes == 1:
        return own
    from accelerate.utils import gather_object

    found: list[T] = gather_object(own)
    return found


def share_of(count: int) -> range:
    """Give the places that are this process's, of so many that need not be shared evenly."""
    launch = read_launch()
    start, end = (count * part // launch.processes for part in (launch.rank, launch.rank + 1))
    return range(start, end)


def own_slice(count: int) -> slice:
    """Give where this process's rows are among those of all, of which each has so many."""
    start = read_launch().rank * count
    return slice(start, start + count)


def average_gradients(weights: Iterable[Parameter]) -> None:
    """Make each gradient the mean of all processes'; a process without one counts as zeros.

    Where no process has any, there is none afterwards: the optimizer is to leave all as it is.
    """
    import torch

    trained, processes = [weight for weight in weights if weight.requires_grad], read_launch().processes
    if not any(gather([any(weight.grad is not None for weight in trained)])):
        return
    for weight in trained:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        torch.distributed.all_reduce(weight.grad)
        weight.grad /= processes


def _state() -> Any:
    """Join the group, once; takes this process's GPU, or none."""
    prepare()
    import torch
    from accelerate import PartialState

    cpu = not torch.cuda.is_available()
    if cpu:
        name_the_cpu()
    return PartialState(cpu=cpu, timeout=_PATIENCE)
