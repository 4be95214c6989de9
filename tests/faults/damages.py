"""Damage a file of the kit's own, as a bad disk, a sync tool or an editor does, and go on.

Three moments: before the next stage, in a stage that was killed, and before a report. What is damaged is named and
refused, or it does no harm: a result that differs from that of the run left alone is wrong whatever was said.
"""

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from faults.lab import STAGES, Lab

DAMAGES: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "gone": lambda content, chance: None,
    "empty": lambda content, chance: b"",
    "cut": lambda content, chance: content[: chance.randrange(len(content) + 1)],
    "a line short": lambda content, chance: b"".join(content.splitlines(keepends=True)[:-1]),
    "zeros": lambda content, chance: bytes(len(content)),
    "a byte changed": lambda content, chance: _flipped(content, chance),
    "not UTF-8": lambda content, chance: b"\xff\xfe" + content,
    "another JSON": lambda content, chance: b'["something", {"else": null}]\n',
    "a merge's marks": lambda content, chance: b"<<<<<<< HEAD\n" + content + b"=======\n>>>>>>> other\n",
}


def damage_often(lab: Lab, times: int, chance: random.Random) -> list[str]:
    """Damage files at the three moments in turn; give what was wrong."""
    moments = (_before_the_next, _in_a_killed_stage, _before_a_report)
    return [wrong for number in range(times) for wrong in moments[number % 3](lab, f"damage-{number}", chance)]


def _before_the_next(lab: Lab, name: str, chance: random.Random) -> list[str]:
    stage = chance.choice(STAGES[1:])
    out = lab.copy(stage, name)
    what = _damage(out, chance)
    return _judge(lab, stage, out, f"{name} before {stage}: {what}")


def _in_a_killed_stage(lab: Lab, name: str, chance: random.Random) -> list[str]:
    stage = chance.choice(STAGES[:-1])
    out = lab.copy(stage, name)
    running = lab.start(stage, out)
    time.sleep(chance.uniform(0.2, 1.0) * lab.seconds[stage])
    running.kill()
    # finished before the signal, it guards what other stages read; the rest is the reader's
    if not (out / stage).exists() or (out / stage / "done.json").exists():
        shutil.rmtree(out, ignore_errors=True)
        return []
    what = _damage(out / stage, chance)
    return _judge(lab, stage, out, f"{name} in a killed {stage}: {what}")


def _before_a_report(lab: Lab, name: str, chance: random.Random) -> list[str]:
    out = lab.folder / name
    shutil.copytree(lab.whole, out)
    what = _damage(out, chance)
    code, said = lab.start("report", out).finish()
    shutil.rmtree(out)
    return [] if code in (0, 2) and "Traceback" not in said else [f"{name} {what}: report: {code}: {said[-1500:]}"]


def _damage(folder: Path, chance: random.Random) -> str:
    """Damage one file under a folder; say which and how."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    path = chance.choice(files)
    how = chance.choice(list(DAMAGES))
    content = DAMAGES[how](path.read_bytes(), chance)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    return f"{path.relative_to(folder)} {how}"


def _flipped(content: bytes, chance: random.Random) -> bytes:
    if not content:
        return b"?"
    place = chance.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 0x15]) + content[place + 1 :]


def _judge(lab: Lab, stage: str, out: Path, what: str) -> list[str]:
    code, said = lab.start(stage, out).finish()
    wrong = []
    if code not in (0, 2) or "Traceback" in said:
        wrong.append(f"{what}: exit code {code}: {said[-1500:]}")
    elif code == 0 and (found := lab.difference(stage, out)):
        wrong.append(f"{what}: other results: {found}; it said {said[-800:]}")
    shutil.rmtree(out, ignore_errors=True)
    return wrong
