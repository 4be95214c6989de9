"""Kill a stage at a moment, go on by the same command, and compare."""

import random
import shutil
import time
from pathlib import Path

from faults.lab import STAGES, Lab
from mbt_lite.files import read_jsonl

JOURNALS = {"gen": "replies.jsonl", "eval": "judge_replies.jsonl"}


def kill_often(lab: Lab, kills: int, chance: random.Random) -> list[str]:
    """Kill stages in turn; give what was wrong afterwards."""
    stages = [STAGES[number % len(STAGES)] for number in range(kills)]
    return [wrong for number, stage in enumerate(stages) for wrong in _kill(lab, stage, f"kill-{number}", chance)]


def _kill(lab: Lab, stage: str, name: str, chance: random.Random) -> list[str]:
    """Kill a stage once while it runs, or twice in a row."""
    out = lab.copy(stage, name)
    lab.seen.clear()
    twice_at_most = 0
    for _ in range(chance.choice((1, 1, 2))):
        running = lab.start(stage, out)
        time.sleep(chance.uniform(0.0, lab.seconds[stage]))
        running.kill()
        time.sleep(0.05)
        if running.process.exitcode == 0:
            break
        twice_at_most = max(0, sum(lab.seen.values()) - _replies(stage, out))
    # an export that is there is finished, and not written over
    over = stage == "export" and (out / "export/grpo-merged").exists()
    code, said = (0, "") if over else lab.start(stage, out).finish()
    paid_twice = sum(lab.seen.values()) - len(lab.seen)
    if code != 0 or "Traceback" in said:
        return [f"{name} {stage}: exit code {code}: {said[-1000:]}"]
    wrong = [f"{name} {found}"] if (found := lab.difference(stage, out)) else []
    if paid_twice > twice_at_most:
        wrong.append(f"{name} {stage}: {paid_twice} requests asked twice, {twice_at_most} were under way")
    shutil.rmtree(out)
    return wrong


def _replies(stage: str, out: Path) -> int:
    return len(read_jsonl(out / stage / JOURNALS[stage])) if stage in JOURNALS else 0
