"""What each phase of a step took, of memory and of time; a warning where memory grows, and where a run stands still.

Phases are those of `memory.in_phase`; of nested ones the innermost counts. Peaks are CUDA's of allocated memory, reset
at each change of phase; on a CPU resident memory, sampled ten times a second: exact where it was the run's highest so
far, else a sample may miss a short peak. The kernel's own high-water mark is not reset: it is the run's, for whoever
measures it from outside.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import statistics
import threading
import time
from collections.abc import Callable, Sequence

from mbt_lite import memory
from mbt_lite.progress import time_text

GIB = 2**30
# Memory is said to grow if of so many steps the last third held more than the first, by so much.
GROWTH_STEPS, GROWTH_SHARE, GROWTH_BYTES = 15, 0.02, 50 * 2**20
# A phase is said to stall after so many times its median over at least so many steps, and after so many seconds.
STALL_TIMES, STALL_STEPS, STALL_SECONDS = 6.0, 3, 120.0
# Seconds between two looks; CUDA counts its own peaks.
_LOOK, _LOOK_ON_CUDA = 0.1, 5.0


def growth_per_step(held: Sequence[float]) -> float | None:
    """Give how much more the last steps hold than the ones before, by step; None where it is no steady growth.

    Every one of the last third must be above every one of the first: memory that goes up and down has no slope.
    """
    last = held[-GROWTH_STEPS:]
    third = GROWTH_STEPS // 3
    if len(last) < GROWTH_STEPS:
        return None
    risen = min(last[-third:]) - max(last[:third])
    if risen <= max(GROWTH_BYTES, GROWTH_SHARE * max(last[:third])):
        return None
    return (statistics.median(last[-third:]) - statistics.median(last[:third])) / (GROWTH_STEPS - third)


@dataclasses.dataclass(frozen=True, slots=True)
class Noticed:
    """A figure of metrics.jsonl that went over a limit, as `grpo_watch` writes them, and what it means."""

    step: int
    name: str
    value: float
    limit: float
    meaning: str
    side: str = "above"


class PhaseWatch:
    """Follows the phases of this process; `end_step` gives a step's figures. `close` it at the end.

    A thread samples and looks for a standstill; it is a daemon, so it keeps no process alive.
    """

    def __init__(
        self, stage: str, step: int, warn: Callable[[Noticed], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.stage, self.step, self.warn, self.clock = stage, step, warn, clock
        self._stack: list[str] = []
        self._began = clock()
        self._peaks: dict[str, int] = {}
        self._seconds: dict[str, float] = collections.defaultdict(float)
        self._history: dict[str, list[float]] = collections.defaultdict(list)
        self._held: list[int] = []
        self._on_cuda, self._sees_memory = memory.is_on_cuda(), memory.can_be_watched()
        self._highest = self._high_water()
        self._said: set[str] = set()
        self._lock, self._closed = threading.Lock(), threading.Event()
        memory.tell_phases(self._change)
        threading.Thread(target=self._run, name="phase-watch", daemon=True).start()

    def close(self) -> None:
        """Follow no longer."""
        memory.tell_phases(None)
        self._closed.set()

    def end_step(self, step: int, steps: int) -> dict[str, float]:
        """Give peak and time of each phase since the last call, and what is held now; warn of growth, once a run."""
        with self._lock:
            self._settle()
            for phase, seconds in self._seconds.items():
                self._history[phase].append(seconds)
            values: dict[str, float] = {}
            values |= {f"time/{phase}_seconds": round(seconds, 2) for phase, seconds in self._seconds.items()}
            values |= {f"memory/{phase}_gib": round(size / GIB, 3) for phase, size in self._peaks.items()}
            self._peaks.clear()
            self._seconds.clear()
            self.step = step
        return values | (self._hold(step, steps) if self._sees_memory else {})

    def _hold(self, step: int, steps: int) -> dict[str, float]:
        held = memory.held_bytes()
        self._held.append(held)
        slope = growth_per_step(self._held)
        if slope is not None and "growth" not in self._said:
            self._said.add("growth")
            end = (held + slope * (steps - step)) / GIB
            meaning = (
                f"memory grows by {slope / 2**20:.0f} MiB a step, from {held / GIB:.1f} GiB to {end:.1f} at the end"
            )
            before = self._held[-GROWTH_STEPS] / GIB
            self.warn(Noticed(step, "memory/held_gib", round(held / GIB, 3), round(before, 3), meaning))
        return {"memory/held_gib": round(held / GIB, 3)}

    def look(self) -> None:
        """Take a sample; warn, once a run, if the present phase takes many times what it took in the steps before."""
        with self._lock:
            if not self._stack:
                return
            phase = self._stack[-1]
            if self._sees_memory and not self._on_cuda:
                self._peaks[phase] = max(self._peaks.get(phase, 0), memory.held_bytes())
            taken, before = self._seconds[phase] + self.clock() - self._began, self._history[phase]
        if len(before) < STALL_STEPS or "stall" in self._said:
            return
        usual = statistics.median(before)
        if taken >= max(STALL_SECONDS, STALL_TIMES * usual):
            self._said.add("stall")
            meaning = (
                f"{time_text(taken)} in {phase}, {taken / max(usual, 1e-3):.0f} times the median; "
                f"`py-spy dump --pid {os.getpid()}` shows where it stands, Ctrl-C keeps the last checkpoint"
            )
            self.warn(Noticed(self.step + 1, f"time/{phase}_seconds", round(taken, 2), round(usual, 2), meaning))

    def _run(self) -> None:
        while not self._closed.wait(_LOOK_ON_CUDA if self._on_cuda else _LOOK):
            self.look()

    def _change(self, phase: str | None) -> None:
        """Enter a phase; leave the present one with None."""
        with self._lock:
            self._settle()
            if phase is not None:
                self._stack.append(phase)
            elif self._stack:
                self._stack.pop()

    def _settle(self) -> None:
        """Put time and peak since the last change to the account of the phase that was."""
        now, peak = self.clock(), self._high_water()
        if self._stack:
            phase = self._stack[-1]
            self._seconds[phase] += now - self._began
            if self._on_cuda or peak > self._highest:
                self._peaks[phase] = max(self._peaks.get(phase, 0), peak)
        self._highest, self._began = max(self._highest, peak), now

    def _high_water(self) -> int:
        if self._on_cuda:
            return memory.cuda_peak_since(self)
        return memory.peak_bytes() if self._sees_memory else 0
