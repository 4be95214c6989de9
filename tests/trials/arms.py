"""What trials of several ways to train share: gen and sft once, then grpo and eval of each way with each seed."""

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Settings = Mapping[str, Any]
DEMO_FILES = {f"data.{part}.path": Path(f"data_samples/demo_{part}.jsonl") for part in ("train", "dev")}


@dataclasses.dataclass(frozen=True)
class Arms:
    """Ways to train by one recipe: `settings` of all, and those of each way by its name.

    A way with settings of gen makes rows and an adapter of its own, from the same replies.
    """

    recipe: str
    settings: Settings
    ways: Mapping[str, Settings]

    def train(self, out: Path, seeds: Sequence[int], more: Settings) -> None:
        """Run everything that is not there yet."""
        begun = out / "begun"
        for stage in ("gen", "sft", "eval"):
            self._run(stage, begun, self.settings | {"eval.variants": "[sft]"} | more)
        for seed in seeds:
            for name, settings in self.ways.items():
                run, is_own = folder(out, name, seed), any(key.startswith("gen.") for key in settings)
                for stage in ("gen",) if is_own else ("gen", "sft"):
                    if not (run / stage).exists():
                        shutil.copytree(begun / stage, run / f"{stage}.part", dirs_exist_ok=True)
                        (run / f"{stage}.part").rename(run / stage)
                for stage in ("gen", "sft", "grpo", "eval") if is_own else ("grpo", "eval"):
                    self._run(stage, run, self.settings | settings | {"grpo.seed": seed} | more)

    def _run(self, stage: str, out: Path, settings: Settings) -> None:
        """Run a stage in a process of its own; one that is done says so and ends."""
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        subprocess.run([sys.executable, "-m", "mbt_lite", stage, self.recipe, "--out", str(out), *words], check=True)


def half_unanswerable(files: Mapping[str, Path], out: Path) -> dict[str, Path]:
    """Write the questions, every second one of two hops without its supporting documents; give the new files by key."""
    made = {key: out / file.name for key, file in files.items()}
    out.mkdir(parents=True, exist_ok=True)
    for key, file in files.items():
        questions = [json.loads(line) for line in file.read_text().splitlines()]
        for question in [one for one in questions if one["question_type"] == "bridge"][::2]:
            question["documents"] = [one for one in question["documents"] if not one["is_supporting"]]
        made[key].write_text("".join(json.dumps(question) + "\n" for question in questions))
    return made


def folder(out: Path, name: str, seed: int) -> Path:
    """Give the run folder of a way to train."""
    return out / f"{name.replace(', ', '_').replace(' ', '_')}-{seed}"


def read_card(run: Path, variant: str) -> dict[str, Any]:
    """Read a variant's metrics.json."""
    found: dict[str, Any] = json.loads((run / "eval" / variant / "metrics.json").read_text())
    return found


def shown(estimate: Mapping[str, Any]) -> str:
    """Write an estimate with its interval and n."""
    if estimate["mean"] is None:
        return f"undefined ({estimate['undefined_reason']})"
    bounds = "" if estimate["low"] is None else f" [{estimate['low']:.3f}, {estimate['high']:.3f}]"
    return f"{estimate['mean']:.3f}{bounds} n={estimate['n']}"


def trial_parser(about: str | None) -> argparse.ArgumentParser:
    """Give the options that every trial has, but for the folder of its runs."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of grpo")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="over the recipe, in all runs")
    parser.add_argument("--report-only", action="store_true", help="train nothing")
    return parser


def run_trial(given: argparse.Namespace, arms: Arms, lines: Callable[[Path, Sequence[int]], Iterator[str]]) -> None:
    """Train what is missing in the folder `given.out`, then say what came of it."""
    if not given.report_only:
        arms.train(given.out, given.seeds, dict(setting.split("=", 1) for setting in given.set))
    print(*lines(given.out, given.seeds), sep="\n")
