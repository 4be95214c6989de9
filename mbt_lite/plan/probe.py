"""The peak of a process's memory, phase by phase: resident memory on a CPU (Linux), allocated memory on CUDA."""

from __future__ import annotations

import re
from pathlib import Path

from mbt_lite.errors import ModelError

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


def resident_bytes(key: str = "VmRSS") -> int:
    """Read this process's resident memory, now (`VmRSS`) or at its highest (`VmHWM`)."""
    if not STATUS.exists():
        raise ModelError(f"{STATUS}: resident memory is read there, on Linux only; measure on Linux")
    found = re.search(rf"^{key}:\s+(\d+) kB", STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, key
    return int(found[1]) * 1024


class Probe:
    """Peaks over what was there at the start: `mark` ends a phase and starts the next."""

    def __init__(self, *, on_cuda: bool) -> None:
        self.on_cuda = on_cuda
        self.peaks: dict[str, int] = {}
        self.baseline = 0 if on_cuda else resident_bytes()
        self._restart()

    def mark(self, name: str) -> None:
        """Note the peak since the last mark under a phase's name; the larger one counts if it comes again."""
        self.peaks[name] = max(self.peaks.get(name, 0), self._peak() - self.baseline)
        self._restart()

    def _peak(self) -> int:
        if not self.on_cuda:
            return resident_bytes("VmHWM")
        import torch

        return int(torch.cuda.max_memory_allocated())

    def _restart(self) -> None:
        if not self.on_cuda:
            # 5 resets the high-water mark, see proc(5)
            CLEAR.write_text("5", encoding="ascii")
            return
        import torch

        torch.cuda.reset_peak_memory_stats()
