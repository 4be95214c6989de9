"""How long our GRPO step takes beside stock TRL's, on the same student, prompts and lengths.

Each run is a process of its own (`grpo_step.py`), ours and stock in turns, so that neither finds the other's warm
caches and a machine that slows down slows both. All completions go to their limit, so both generate and train the same
tokens; all groups have a spread, so ours skips none. What ours saves on dead groups comes on top.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

from mbt_lite.bench.measurement import measured
from mbt_lite.recipe.schema import Model
from mbt_lite.records import Measurement
from mbt_lite.student import process

PHASES = ("rollout", "reward", "update", "optimizer")


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """What both trainers do: `steps` optimizer steps, the first of which warms up and does not count."""

    model: str
    prompts: int
    group_size: int
    completion_tokens: int
    micro_batch_size: int
    steps: int
    threads: int | None


def measure_steps(load: Load, pairs: int, say: Callable[[str], None]) -> Measurement:
    """Measure `pairs` runs of each kind; `say` gets a line after each run."""
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "stock": []}
    for pair in range(1, pairs + 1):
        for kind, found in runs.items():
            found.append(run_once(kind, load))
            phases = ", ".join(f"{phase} {found[-1][phase]:.2f}" for phase in PHASES)
            say(f"pair {pair}, {kind}: {found[-1]['step']:.2f} s a step ({phases}), {found[-1]['peak_gib']:.2f} GiB")
    return summarise(load, runs)


def run_once(kind: str, load: Load) -> dict[str, float]:
    """Run one process; give its mean seconds a step by phase, its peak memory and its tokens."""
    settings = json.dumps(dataclasses.asdict(load))
    command = process.command(Model(name=load.model).backend, "mbt_lite.bench.grpo_step", kind, settings)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def summarise(load: Load, runs: Mapping[str, list[dict[str, float]]]) -> Measurement:
    """Give medians, the median of the pairs' ratios (ours over stock), and the reward's share of our step."""
    ratios = [ours["step"] / stock["step"] for ours, stock in zip(runs["ours"], runs["stock"], strict=True)]
    ratio = statistics.median(ratios)
    share = statistics.median(run["reward"] / run["step"] for run in runs["ours"])
    seconds = {kind: {name: _median(found, name) for name in ("step", *PHASES)} for kind, found in runs.items()}
    memory = {kind: _median(found, "peak_gib") for kind, found in runs.items()}
    figures: dict[str, Any] = {
        "seconds": seconds,
        "peak_gib": memory,
        "ratio": round(ratio, 3),
        "ratios": [round(one, 3) for one in ratios],
        "reward_share": round(share, 5),
        "completion_tokens_seen": {kind: found[0]["completion_tokens"] for kind, found in runs.items()},
        # of a step, each prompt once
        "prompt_tokens": runs["ours"][0]["prompt_tokens"],
    }
    result = (
        f"grpo step: {seconds['ours']['step']:.1f} s, stock TRL {seconds['stock']['step']:.1f} s (ratio {ratio:.2f}, "
        f"median of {len(ratios)} pairs); peak {memory['ours']:.1f} and {memory['stock']:.1f} GiB; reward {share:.2%} "
        f"of our step ({load.model}, {load.prompts} x {load.group_size} x {load.completion_tokens} tokens)"
    )
    settings = dataclasses.asdict(load)
    return measured("grpo", result, settings=settings, figures=figures, packages=["torch", "transformers", "trl"])


def _median(runs: list[dict[str, float]], name: str) -> float:
    return round(statistics.median(run[name] for run in runs), 4)
