"""`make gpu-check`: everything that only a card can tell, in at most eight minutes, offline.

    python tests/gpu/check.py [--small] [--bundle FOLDER] [--out FOLDER] [STEP...]

Each step (`steps.py`) is a process of its own with its own time limit, because a step may take the interpreter, or the
card's memory, with it. results.json is written after every step, and the table again, so that a run that is cut off has
told what it knew. A failed step does not end the run; the exit code says whether any failed. `--small` runs every step
on a tiny student, wherever this is: it shows that no line fails for a silly reason, and nothing of a card.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
STEPS = Path(__file__).with_name("steps.py")
# Step -> seconds it may take, twice what is foreseen on a card; in all they may take no more than `TOTAL_SECONDS`.
LIMITS = {
    "probe": 60,
    "reward": 90,
    "load": 120,
    "sft": 90,
    "grpo-1": 90,
    "grpo-8": 90,
    "decode": 120,
    "numbers": 60,
    "unsloth-sft": 90,
    "unsloth-grpo-1": 90,
    "unsloth-grpo-8": 90,
    "unsloth-decode": 90,
}
TOTAL_SECONDS = 460
# A small form on a busy laptop measures no time.
SMALL_FACTOR = 10
# What a step says where it has nothing to run on: not failed, and not passed either.
SKIPPED = 77


def environment(bundle: Path | None, step: str) -> dict[str, str]:
    """Give the variables of a step: nothing is fetched, and a bundle's packages come before the installed ones."""
    told = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    paths = [str(ROOT), str(ROOT / "tests")]
    if bundle is not None:
        # unsloth takes TRL one release back
        trl = "trl-1.15.0" if step.startswith("unsloth") else "trl-1.16.0"
        paths = [*paths, str(bundle / trl), str(bundle / "site")]
        if (bundle / "cache").is_dir():
            told["XDG_CACHE_HOME"] = str(bundle / "cache")
    return told | {"PYTHONPATH": os.pathsep.join(paths)}


def run_step(name: str, limit: float, bundle: Path | None, *, small: bool) -> dict[str, Any]:
    """Run a step; give how it ended, its seconds, and what its last line says."""
    command = [sys.executable, str(STEPS), name, *(["--small"] if small else [])]
    began = time.monotonic()
    with _scratch() as written, _scratch() as complained:
        # files, not pipes, and a group of its own: what a step started holds nothing up, and ends with it
        step = subprocess.Popen(
            command, cwd=ROOT, env=environment(bundle, name), stdout=written, stderr=complained, start_new_session=True
        )
        try:
            code = step.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(step.pid, signal.SIGKILL)
            step.wait()
        written.seek(0)
        complained.seek(0)
        out, err = written.read(), complained.read()
    seconds = round(time.monotonic() - began, 1)
    lines = out.strip().splitlines()
    ended = {0: "passed", SKIPPED: "skipped", None: f"over its limit of {limit:.0f} s"}.get(code, f"failed ({code})")
    # libraries say goodbye behind it
    told = [line for line in lines if line.startswith('{"')][-1:] if code == 0 else []
    if code == 0 and not told:
        ended = "failed (told nothing)"
    said = lines[-1:] if code == SKIPPED else err.splitlines()[-12:]
    found = json.loads(told[0]) if told else {"said": "\n".join(said)}
    return {"step": name, "ended": ended, "seconds": seconds, "found": found}


def _scratch() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")


def table(results: list[dict[str, Any]]) -> str:
    """Write results as a Markdown table, a line a figure."""
    lines = ["| step | ended | s | found |", "|---|---|---|---|"]
    for row in results:
        found = "; ".join(f"{key} {said(value)}" for key, value in row["found"].items())
        lines.append(f"| {row['step']} | {row['ended']} | {row['seconds']} | {found.replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def said(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {said(one)}" for key, one in value.items()) + ")"
    return f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("steps", nargs="*", default=list(LIMITS), metavar="STEP")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "runs/gpu-check")
    asked = parser.parse_args()
    total = TOTAL_SECONDS * (SMALL_FACTOR if asked.small else 1)
    unknown = set(asked.steps) - set(LIMITS)
    if unknown:
        parser.error(f"no such step (got {', '.join(sorted(unknown))}); there are {', '.join(LIMITS)}")
    asked.out.mkdir(parents=True, exist_ok=True)
    began, results = time.monotonic(), []
    for name in asked.steps:
        left = total - (time.monotonic() - began)
        if left < 5:
            result = {"step": name, "ended": "no time left", "seconds": 0.0, "found": {}}
        else:
            limit = LIMITS[name] * (SMALL_FACTOR if asked.small else 1)
            result = run_step(name, min(limit, left), asked.bundle, small=asked.small)
        results.append(result)
        kind = "small form on a tiny student, shows nothing of a card" if asked.small else "on a card"
        whole = {"form": kind, "date": time.strftime("%Y-%m-%d"), "results": results}
        (asked.out / "results.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")
        (asked.out / "results.md").write_text(f"{kind}, {whole['date']}\n\n{table(results)}", encoding="utf-8")
        print(f"{result['step']}: {result['ended']}, {result['seconds']} s", flush=True)
    print(f"{asked.out / 'results.md'}:\n{table(results)}")
    return int(any(row["ended"] not in ("passed", "skipped") for row in results))


if __name__ == "__main__":
    sys.exit(main())
