"""Kill `sft` with SIGKILL at random moments, go on each time, and compare with the run that was left alone.

    python tests/stages/kill_often.py --kills 10 --seed 0

Four of ten kills hit a save: one waits for a file of a checkpoint to appear and kills at once; if the save was over by
then, it tries again. The others come some milliseconds after a step, or before the first. Each killed run is a process
of its own with a folder of its own; a server that has imported the libraries forks them, so that a kill costs no
import.
"""

import argparse
import dataclasses
import json
import math
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from mbt_lite.data.questions import read_questions
from mbt_lite.files import read_jsonl
from mbt_lite.recipe.schema import Questions
from mbt_lite.training.checkpoints import REQUIRED, is_complete

ROOT = Path(__file__).parents[2]
STEPS, SAVE_EVERY = 24, 3
# Imported once, in the server.
LIBRARIES = ["torch", "transformers", "bitsandbytes", "peft", "datasets", "trl.trainer.sft_trainer"]
# The order in which a save writes them; with the last one it is complete.
FILES = [name for name in REQUIRED if name != "trainer_state.json"]


@dataclasses.dataclass(frozen=True)
class Moment:
    """When to kill: after `step` steps and so many seconds, or once a file of the checkpoint of `step` is there."""

    step: int
    seconds: float
    file: str | None

    def __str__(self) -> str:
        if self.file is not None:
            return f"in the save of step {self.step}, at {self.file}"
        return f"{self.seconds * 1000:.0f} ms after step {self.step}"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a kill."""

    moment: Moment
    tries: int
    last_step: int
    partial: tuple[str, ...]
    went_on_from: int
    loss_difference: float
    adapter_difference: float

    def __str__(self) -> str:
        partial = f"left {', '.join(self.partial)} partial, " if self.partial else ""
        differences = f"loss {self.loss_difference:g}, weight {self.adapter_difference:g}"
        return (
            f"killed {self.moment} (try {self.tries}; {self.last_step} steps logged): {partial}went on from step "
            f"{self.went_on_from}; largest difference: {differences}"
        )


def moments(kills: int, seed: int) -> list[Moment]:
    """Draw the moments: four of ten in a save."""
    chance = random.Random(seed)
    drawn = [Moment(chance.randrange(STEPS), chance.uniform(0.0, 0.3), None) for _ in range(kills)]
    for number in range(math.ceil(kills * 0.4)):
        step = SAVE_EVERY * chance.randint(1, STEPS // SAVE_EVERY)
        drawn[number] = Moment(step, 0.0, chance.choice(FILES))
    return drawn


def run_sft(recipe: str, out: str, log: str) -> None:
    """Run the command in this process, as `python -m mbt_lite` does."""
    from mbt_lite.cli import main

    os.chdir(ROOT)
    sys.argv = ["mbt-lite", "sft", recipe, "--out", out]
    with open(log, "a", buffering=1) as sys.stdout:
        sys.stderr = sys.stdout
        main()


class Killer:
    """Runs of one recipe, forked from a server."""

    def __init__(self, folder: Path, student: Path) -> None:
        self.folder = folder
        self.recipe = folder / "recipe.yaml"
        sections = {
            "model": {"name": str(student), "dtype": "float32"},
            "data": {
                "train": {"path": str(ROOT / "data_samples/demo_train.jsonl"), "limit": STEPS},
                "dev": {"path": str(ROOT / "data_samples/demo_dev.jsonl"), "limit": 2},
                "max_prompt_tokens": 512,
            },
            "lora": {"rank": 16, "alpha": 16},
            "sft": {
                "learning_rate": 1e-3, "micro_batch_size": 1, "gradient_accumulation_steps": 1,
                "max_sequence_tokens": 1024, "gradient_checkpointing": False, "save_every_steps": SAVE_EVERY,
            },
        }  # fmt: skip
        self.recipe.write_text(json.dumps(sections))
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(LIBRARIES)

    def start(self, out: Path) -> Any:
        if not out.exists():
            from short_traces import write_traces

            train = Questions(path=str(ROOT / "data_samples/demo_train.jsonl"), limit=STEPS)
            write_traces(out / "gen/traces.jsonl", read_questions(train, 0))
        process = self.context.Process(target=run_sft, args=(str(self.recipe), str(out), f"{out}.log"))
        process.start()
        return process

    def finish(self, out: Path) -> None:
        process = self.start(out)
        process.join()
        # typer ends a command with SystemExit(0)
        assert process.exitcode == 0, Path(f"{out}.log").read_text()
        assert (out / "sft/done.json").exists()

    def kill(self, out: Path, moment: Moment) -> bool:
        """Start, kill at the moment, and tell whether it was met."""
        process = self.start(out)
        metrics = out / "sft/metrics.jsonl"
        checkpoint = out / f"sft/checkpoints/checkpoint-{moment.step}"
        if moment.file is None:
            while process.is_alive() and len(read_jsonl(metrics)) < moment.step:
                time.sleep(0.001)
            time.sleep(moment.seconds)
        else:
            # no pause: a save of this student takes a few hundredths of a second
            while not (checkpoint / moment.file).exists() and process.is_alive():
                pass
        process.kill()
        process.join()
        assert process.exitcode in (-9, 0), Path(f"{out}.log").read_text()
        if process.exitcode == 0 or (out / "sft/done.json").exists():
            return False
        return moment.file is None or not is_complete(checkpoint)

    def outcome(self, whole: Path, number: int, moment: Moment) -> Outcome:
        """Kill and go on; DataError and assertions of the run itself pass."""
        out = self.folder / f"killed-{number}"
        tries = 1
        while not self.kill(out, moment):
            assert tries < 10, f"the moment was never met: {moment}"
            shutil.rmtree(out)
            tries += 1
        last_step = len(read_jsonl(out / "sft/metrics.jsonl"))
        self.finish(out)
        said = Path(f"{out}.log").read_text()
        partial = sorted(path.name for path in (out / "sft/checkpoints").glob("partial-*"))
        assert all(f"set aside as {out / 'sft/checkpoints' / name}" in said for name in partial)
        went_on = [line for line in said.splitlines() if line.startswith("sft: going on from")]
        went_on_from = int(went_on[-1].rpartition("-")[2]) if went_on else 0
        ours, theirs = losses(out), losses(whole)
        assert list(ours) == list(theirs) == list(range(1, STEPS + 1))
        first, second = (load_file(run / "sft/adapter/adapter_model.safetensors") for run in (out, whole))
        assert first.keys() == second.keys()
        return Outcome(
            moment, tries, last_step, tuple(partial), went_on_from,
            max(abs(ours[step] - theirs[step]) for step in ours),
            max(float((first[name] - second[name]).abs().max()) for name in first),
        )  # fmt: skip


def losses(out: Path) -> dict[int, float]:
    """Give step -> loss; a step that stands there twice is an error."""
    rows = read_jsonl(out / "sft/metrics.jsonl")
    assert len({row["step"] for row in rows}) == len(rows)
    return {row["step"]: row["loss"] for row in rows}


def kill_often(folder: Path, student: Path, kills: int, seed: int) -> list[Outcome]:
    """Kill and go on at every moment; say what came of each."""
    killer, whole = Killer(folder, student), folder / "whole"
    killer.finish(whole)
    outcomes = []
    for number, moment in enumerate(moments(kills, seed), 1):
        outcomes.append(killer.outcome(whole, number, moment))
        print(f"{number}. {outcomes[-1]}", flush=True)
    return outcomes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests")]
    from tiny_student import save_tiny_student

    with tempfile.TemporaryDirectory() as scratch:
        save_tiny_student(Path(scratch) / "student")
        found = kill_often(Path(scratch), Path(scratch) / "student", asked.kills, asked.seed)
    partial = sum(bool(one.partial) for one in found)
    loss, weight = max(one.loss_difference for one in found), max(one.adapter_difference for one in found)
    print(f"seed {asked.seed}: {len(found)} kills, {partial} left a partial checkpoint")
    print(f"largest difference of all: loss {loss:g}, weight {weight:g}")
