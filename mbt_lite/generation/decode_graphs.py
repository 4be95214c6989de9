"""CUDA graphs of a decode step: thousands of small kernels, launched as one. It has not run on a card yet.

A step is recorded for the shapes it runs in, and every tensor that it reads or writes between steps keeps its place
(`row_slots` writes in place), so a replay is the step. On a CPU nothing is recorded; the tests put a recorder of their
own in its stead, and hold what a graph needs: that no tensor moves, and that a step reads nothing else that changes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch

Step = Callable[[], None]


class Replayed:
    """A step that is recorded when its shapes come for the second time; the first warms up what libraries set up."""

    def __init__(self, step: Step, record: Callable[[Step], Step] | None) -> None:
        self._step, self._record = step, record
        self._recorded: dict[Hashable, Step | None] = {}

    def run(self, shapes: Hashable) -> None:
        """Run the step in some shapes."""
        if self._record is None or shapes not in self._recorded:
            self._recorded[shapes] = None
            self._step()
            return
        replay = self._recorded[shapes]
        if replay is None:
            replay = self._recorded[shapes] = self._record(self._step)
        replay()

    def forget(self) -> None:
        """Drop what was recorded: the tensors have moved."""
        self._recorded.clear()


def recorder(device: torch.device, *, wanted: bool) -> Callable[[Step], Step] | None:
    """Give what records a step on this device: nothing on a CPU, or where it is not wanted."""
    if not wanted or device.type != "cuda":
        return None
    pool: Any = torch.cuda.graph_pool_handle()

    def record(step: Step) -> Step:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            step()
        return graph.replay

    return record
