"""How long a student takes from the start of a process to its first token, and what memory that takes.

Each run is a process of its own (`load_run.py`), so that nothing is warm but the files: a first load of an embedded or
random student writes them, and is not measured.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mbt_lite.bench.measurement import measured
from mbt_lite.errors import RunError
from mbt_lite.records import Measurement

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")
MARKS = ("imported", "loaded", "first_token")


def measure_load(name: str, runs: int, say: Callable[[str], None]) -> Measurement:
    """Load the student that `model.name` names `runs` times; `say` gets a line after each."""
    from mbt_lite.student.loading import folder_or_id

    folder_or_id(name)
    found = []
    for run in range(1, runs + 1):
        found.append(run_once(name))
        say(f"run {run}: {said(found[-1])}")
    return summarise(name, found)


def run_once(name: str) -> dict[str, Any]:
    """Run one process; RunError with the end of what it wrote if it fails."""
    asked = json.dumps({"model": name, "began": time.time()})
    command = [sys.executable, "-m", "mbt_lite.bench.load_run", asked]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["nothing was written"]
        raise RunError(f"bench load: the run failed ({last[0]}); `mbt-lite doctor` tells what is wrong here")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def summarise(name: str, runs: Sequence[Mapping[str, Any]]) -> Measurement:
    """Give the medians of some runs."""
    middle = {mark: round(statistics.median(run[mark] for run in runs), 2) for mark in MARKS}
    peaks = {
        memory: None if runs[0][memory] is None else round(statistics.median(run[memory] for run in runs), 3)
        for memory in ("resident_gib", "gpu_gib")
    }
    backend = runs[0]["backend"]
    return measured(
        "load",
        f"{said(middle | peaks)} ({name}, 4-bit, {backend}, median of {len(runs)})",
        settings={"model": name, "quantization": "nf4", "backend": backend, "threads": runs[0]["threads"]},
        figures={"seconds": middle, "peak_gib": peaks, "runs": [dict(run) for run in runs]},
        packages=[*PACKAGES, *(["unsloth"] if backend == "unsloth" else [])],
    )


def said(run: Mapping[str, Any]) -> str:
    """Say what a run took; its marks are seconds since the start of the process."""
    gpu = "" if run["gpu_gib"] is None else f" and {run['gpu_gib']:.1f} GiB of the GPU"
    return (
        f"first token after {run['first_token']:.1f} s (libraries {run['imported']:.1f}, student loaded after "
        f"{run['loaded']:.1f}), peak {run['resident_gib']:.1f} GiB resident{gpu}"
    )
