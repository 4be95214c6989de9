"""The memory of this process and its card: how much was held at once, by whom, and in which phase it ran out.

Allocated memory on CUDA; without a card, resident memory by the kernel.
"""

from __future__ import annotations

import contextlib
import re
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from mbt_lite.errors import MbtError, ModelError

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
# What CUDA and its libraries, the CPU's allocators and the kernel write, in lower case.
_SIGNS = ("out of memory", "_status_alloc_failed", "t allocate memory", "not enough memory", "bad_alloc")

P = ParamSpec("P")
T = TypeVar("T")
Phase = Literal["load", "rollouts", "scoring", "forward", "backward", "optimizer", "evaluation", "save", "training"]


# Whoever is told of phases; None leaves the present one.
_listener: Callable[[Phase | None], None] | None = None
# Peaks of CUDA by reader since each one last read: there is one counter, and several start it anew.
_peaks_of: dict[object, int] = {}


def _cuda() -> Any:
    """Give torch's CUDA, None without a card; a process that has not loaded torch holds nothing there."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def is_on_cuda() -> bool:
    """Tell whether memory here means that of a card."""
    return _cuda() is not None


def can_be_watched() -> bool:
    """Tell whether what is held now can be read: on a card, or where the kernel tells."""
    return is_on_cuda() or _STATUS.exists()


def peak_bytes() -> int:
    """Give the most memory held at once so far."""
    cuda = _cuda()
    if cuda is not None:
        return max(_peaks_of.get("run", 0), int(cuda.max_memory_allocated()))
    # in KiB, but on macOS in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def held_bytes() -> int:
    """Give what is held now: allocated on the card, else resident."""
    cuda = _cuda()
    return int(cuda.memory_allocated()) if cuda is not None else resident_bytes()


def cuda_peak_since(reader: object) -> int:
    """Give the most that was allocated at once since this reader asked last."""
    cuda = _cuda()
    peak = int(cuda.max_memory_allocated())
    cuda.reset_peak_memory_stats()
    for one in {*_peaks_of, reader, "run"}:
        _peaks_of[one] = max(_peaks_of.get(one, 0), peak)
    found = _peaks_of[reader]
    _peaks_of[reader] = 0
    return found


def resident_bytes(key: Literal["VmRSS", "VmHWM"] = "VmRSS") -> int:
    """Read this process's resident memory, now (`VmRSS`) or at its highest (`VmHWM`)."""
    if not _STATUS.exists():
        raise ModelError(f"{_STATUS}: resident memory is read there, on Linux only; measure on Linux")
    found = re.search(rf"^{key}:\s+(\d+) kB", _STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, key
    return int(found[1]) * 1024


class Probe:
    """Peaks over what was there at the start: `mark` ends a phase and starts the next."""

    def __init__(self, *, on_cuda: bool, baseline: int | None = None) -> None:
        self.on_cuda = on_cuda
        self.peaks: dict[str, int] = {}
        # what others hold of a card is not ours
        self.baseline = baseline if baseline is not None else 0 if on_cuda else resident_bytes()
        self._restart()

    def mark(self, name: str) -> int:
        """Note the peak since the last mark under a phase's name, and give it; of several the largest stays."""
        peak = (cuda_peak_since(self) if self.on_cuda else resident_bytes("VmHWM")) - self.baseline
        self.peaks[name] = max(self.peaks.get(name, 0), peak)
        self._restart()
        return peak

    def _restart(self) -> None:
        if self.on_cuda:
            cuda_peak_since(self)
        else:
            # 5 resets the high-water mark, see proc(5)
            _CLEAR.write_text("5", encoding="ascii")


@contextlib.contextmanager
def in_phase(phase: Phase) -> Iterator[None]:
    """Mark an error that says memory ran out with the phase it came from; the innermost phase counts."""
    if _listener is not None:
        _listener(phase)
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error) and not hasattr(error, "mbt_phase"):
            error.mbt_phase = phase  # type: ignore[attr-defined]
        raise
    finally:
        if _listener is not None:
            _listener(None)


def tell_phases(listener: Callable[[Phase | None], None] | None) -> None:
    """Tell one listener of each phase that begins, and of its end as None; with None tell no one."""
    global _listener
    _listener = listener


def each_in_phase(phase: Phase, iterate: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """Give a function that iterates as `iterate` does, in a phase; what is done with the items is outside of it."""

    def iterate_in_phase(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        with in_phase(phase):
            yield from iterate(*args, **kwargs)

    return iterate_in_phase


def phase_of(error: BaseException) -> Phase:
    """Give the phase in which memory ran out; `training` where none was named."""
    phase: Phase = getattr(error, "mbt_phase", "training")
    return phase


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory ran out, on a GPU or on the CPU."""
    # lines of ours may quote a server
    said = "" if isinstance(error, MbtError) else str(error).lower()
    return isinstance(error, MemoryError) or any(sign in said for sign in _SIGNS)
