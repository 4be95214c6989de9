"""What the processes of one launch do together, by accelerate; alone, a process walks through it."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from transformers import TrainerCallback

from mbt_lite.errors import ModelError
from mbt_lite.launch import read_launch
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


class FollowLeader(TrainerCallback):
    """Take the leader's word on when to save and to stop, for it alone watches; comes after all other callbacks."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Follow."""
        if args.world_size > 1:
            from accelerate.utils import broadcast_object_list

            word = [control.should_save, control.should_training_stop]
            control.should_save, control.should_training_stop = broadcast_object_list(word)

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Follow."""
        self.on_step_end(args, state, control)


def _state() -> Any:
    """Join the group, once; takes this process's GPU, or none."""
    prepare()
    import torch
    from accelerate import PartialState

    cpu = not torch.cuda.is_available()
    if cpu:
        name_the_cpu()
    return PartialState(cpu=cpu, timeout=_PATIENCE)
