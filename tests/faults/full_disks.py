"""Let no file grow beyond some bytes, as on a disk that is full there; then go on with room, and compare.

The limit is the kernel's (RLIMIT_FSIZE): every writer meets it, those in libraries too.
"""

import random
import shutil
from pathlib import Path

from faults.lab import STAGES, Lab


def fill_often(lab: Lab, times: int, chance: random.Random) -> list[str]:
    """Fill the disk in stages in turn; give what was wrong."""
    return [
        wrong for number in range(times) for wrong in _fill(lab, STAGES[number % len(STAGES)], f"full-{number}", chance)
    ]


def _fill(lab: Lab, stage: str, name: str, chance: random.Random) -> list[str]:
    sizes = sorted(path.stat().st_size for path in _written(lab.whole / stage) if path.stat().st_size > 0)
    out, limit = lab.copy(stage, name), chance.choice(sizes) - 1
    code, said = lab.start(stage, out, largest_file=limit).finish()
    lines = [line for line in said.splitlines() if "make room on that disk" in line]
    wrong = []
    if code not in (0, 2) or "Traceback" in said or (code == 2 and len(lines) != 1):
        wrong.append(f"{name} {stage} at {limit} bytes: exit code {code}: {said[-1500:]}")
    code, said = lab.start(stage, out).finish()
    if code != 0:
        wrong.append(f"{name} {stage} at {limit} bytes, with room again: exit code {code}: {said[-1500:]}")
    elif found := lab.difference(stage, out):
        wrong.append(f"{name} at {limit} bytes: {found}")
    shutil.rmtree(out)
    return wrong


def _written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
