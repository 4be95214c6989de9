"""A measurement and what it takes to believe it: machine, versions, date, command, settings.

Measurements are lines of a JSONL file; the performance table of recipes/RESULTS.md is made from such a file by
`mbt-lite bench table`, so that no figure stands there that nobody measured.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mbt_lite.errors import DataError
from mbt_lite.files import Journal, read_jsonl
from mbt_lite.records import Measurement, from_row, to_row


def measured(
    benchmark: str, result: str, *, settings: Mapping[str, Any], figures: Mapping[str, Any], packages: Sequence[str]
) -> Measurement:
    """Put date, this program's command line, machine and the versions of `packages` to what was measured."""
    return Measurement(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        command=shlex.join(["mbt-lite", *sys.argv[1:]]),
        benchmark=benchmark,
        result=result,
        machine=machine(),
        versions={"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages},
        settings=settings,
        figures=figures,
    )


def machine() -> dict[str, Any]:
    """Describe this machine: processor, cores this process may use, GiB of memory, and the GPU (None without one)."""
    gibibyte = 2**30
    described = {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / gibibyte, 1),
        "gpu": None,
        "gpu_memory_gib": None,
    }
    if importlib.util.find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            described["gpu"] = torch.cuda.get_device_name()
            described["gpu_memory_gib"] = round(torch.cuda.get_device_properties(0).total_memory / gibibyte, 1)
    return described


def _processor() -> str:
    """Give the processor's name: Linux has it in a file only."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def append(measurement: Measurement, path: Path) -> None:
    """Add a measurement to a file; it is on disk when this returns."""
    with Journal(path) as journal:
        journal.append(to_row(measurement))


def read_measurements(path: Path) -> list[Measurement]:
    """Read a file of measurements; DataError if it is missing or holds something else."""
    if not path.exists():
        raise DataError(f"{path}: no measurements (no such file); run one of the benchmarks first")
    return [from_row(Measurement, row, f"{path}:{number}") for number, row in enumerate(read_jsonl(path), 1)]


def markdown_table(measurements: Sequence[Measurement]) -> str:
    """Write measurements as a Markdown table, one a row, in their order."""
    lines = ["| benchmark | result | machine | date, versions | command |", "|---|---|---|---|---|"]
    for measurement in measurements:
        versions = ", ".join(f"{name} {version}" for name, version in measurement.versions.items())
        cells = (
            measurement.benchmark,
            measurement.result,
            _said(measurement.machine),
            f"{measurement.date}: {versions}",
            f"`{measurement.command}`",
        )
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def _said(machine: Mapping[str, Any]) -> str:
    """Say a machine in a few words."""
    said = f"{machine['cores']} cores {machine['cpu']}, {machine['memory_gib']:g} GiB"
    return said if machine["gpu"] is None else f"{machine['gpu']} {machine['gpu_memory_gib']:g} GiB; {said}"
