"""The machine: disk, memory, WSL, and what earlier versions left in the cache."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

from mbt_lite.doctor.findings import Finding
from mbt_lite.plan.make_plan import Plan
from mbt_lite.plan.target import free_memory_bytes
from mbt_lite.student.embedded import cache_root, cached_folder
from mbt_lite.student.random_weights import WRITING

GB = 10**9
GIB = 2**30
_VERSION_FILE = Path("/proc/version")
# Without a recipe: room for one 4B student, and for the embedded one to train.
_USUAL_DISK = 20 * GB
_USUAL_MEMORY = 4 * GIB


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """What cannot be staged by files or variables: free bytes on the disks and in memory, the kernel's version text."""

    disk: int
    cache_disk: int
    memory: int
    kernel: str


def read_machine(run_folder: Path) -> Machine:
    """Look at this machine; `run_folder` need not exist."""
    kernel = _VERSION_FILE.read_text(encoding="utf-8") if _VERSION_FILE.exists() else ""
    return Machine(_free(run_folder), _free(cache_root()), free_memory_bytes(), kernel)


def _free(folder: Path) -> int:
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def check_machine(machine: Machine, plan: Plan | None) -> Iterator[Finding]:
    """Compare the machine with what the recipe needs, or with what is usual."""
    yield from _check_disk(machine, plan)
    yield _check_memory(machine, plan)
    if "microsoft" in machine.kernel.lower():
        said = "WSL lends Linux half of the memory, and pins little of it"
        yield Finding("wsl", said, "raise `memory=` in %UserProfile%\\.wslconfig, keep runs off /mnt/c")
    yield from _check_card(plan)


def _check_disk(machine: Machine, plan: Plan | None) -> Iterator[Finding]:
    disk = {} if plan is None else plan.disk
    in_run = disk.get("checkpoints", 0) + disk.get("adapters", 0) if plan else _USUAL_DISK
    in_cache = sum(size for what, size in disk.items() if what in ("student (download)", "student (cache)"))
    for where, free, needed, cure in (
        ("run folder", machine.disk, in_run, "free some, or choose another disk with --out"),
        ("cache", machine.cache_disk, in_cache, "free some, or point XDG_CACHE_HOME and HF_HOME to another disk"),
    ):
        said = f"{free / GB:.1f} GB free, about {needed / GB:.1f} GB needed"
        yield Finding(f"disk of the {where}", said, cure if free < needed else None)


def _check_memory(machine: Machine, plan: Plan | None) -> Finding:
    on_cpu = plan is not None and plan.target.device == "cpu"
    needed = plan.peak[1].bytes if plan is not None and on_cpu else _USUAL_MEMORY
    said = f"{machine.memory / GIB:.1f} GiB free, about {needed / GIB:.1f} GiB needed"
    cure = "close other programs, or see `mbt-lite plan RECIPE --fit`"
    return Finding("memory", said, cure if machine.memory < needed else None)


def _check_card(plan: Plan | None) -> Iterator[Finding]:
    if plan is None or plan.target.device != "cuda":
        return
    stage, peak = plan.peak
    said = f"{plan.target.said}: {stage} needs {peak.bytes / GIB:.1f} of {plan.target.usable / GIB:.1f} GiB"
    yield Finding("card memory", said, "see `mbt-lite plan RECIPE --fit`" if plan.margin < 0 else None)


def check_caches() -> Iterator[Finding]:
    """Look for students of other versions and for torn conversions in the cache."""
    root, present = cache_root(), cached_folder().name
    stale = [str(path) for path in sorted(root.glob("*")) if path.is_dir() and _is_stale(path.name, present)]
    if stale:
        yield Finding("cache", f"left by another version: {', '.join(stale)}", f"rm -r {' '.join(stale)}")
    else:
        yield Finding("cache", f"{root}: nothing stale")


def _is_stale(name: str, present: str) -> bool:
    """Tell whether a cache folder is torn, or another version's student."""
    if name.endswith(".partial"):
        return True
    if name.startswith("random-"):
        return not name.endswith(f"-{WRITING}")
    return name.startswith(present.rpartition("-")[0]) and name != present
