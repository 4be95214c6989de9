"""Runs of a tiny student in processes of their own, beside a run that was left alone."""

import collections
import contextlib
import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forked import Running, start_command

from mbt_lite.files import read_json, read_jsonl
from mbt_lite.scripted import server as scripted

ROOT = Path(__file__).parents[2]
STAGES = ("gen", "sft", "grpo", "eval", "export")
QUESTIONS, DEV_QUESTIONS = 12, 4


def sections(student: Path, url: str) -> dict[str, Any]:
    """Give a recipe whose five stages take a second or two each."""
    samples = ROOT / "data_samples"
    return {
        "model": {"name": str(student), "dtype": "float32"},
        "data": {
            "train": {"path": str(samples / "demo_train.jsonl"), "limit": QUESTIONS},
            "dev": {"path": str(samples / "demo_dev.jsonl"), "limit": DEV_QUESTIONS},
            "max_prompt_tokens": 512,
        },
        "teacher": {"base_url": url, "concurrency": 2, "attempts": 2},
        "judge": {"base_url": url, "concurrency": 2, "attempts": 2, "measures": ["hit", "metacognition"]},
        "lora": {"rank": 4, "alpha": 8},
        "gen": {"kind": "mbt_r", "max_completion_tokens": 24, "batch_size": 2},
        "sft": {
            "learning_rate": 1e-3, "micro_batch_size": 2, "gradient_accumulation_steps": 1, "save_every_steps": 2,
            "max_sequence_tokens": 1024, "gradient_checkpointing": False,
        },
        "grpo": {
            "steps": 4, "prompts_per_step": 2, "group_size": 4, "micro_batch_size": 4, "rollout_batch_size": 8,
            "learning_rate": 1e-3, "max_completion_tokens": 64, "gradient_checkpointing": False, "save_every_steps": 2,
            "dev_questions": 2,
            "reward": {"weights": {"answer": 4.0, "length": 1.0}, "overlong_buffer_tokens": 63},
        },
        "eval": {"variants": ["base", "sft", "grpo"], "max_completion_tokens": 24, "batch_size": 4},
    }  # fmt: skip


class Lab:
    """The student, the recipe, and a teacher that counts; `whole` is the run that was left alone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.whole = folder, folder / "whole"
        self.seconds: dict[str, float] = {}
        self.seen: collections.Counter[str] = collections.Counter()
        self.lock = threading.Lock()

    @contextlib.contextmanager
    def open(self) -> Iterator["Lab"]:
        """Make the student and the whole run, with a copy of the folder as each stage found it."""
        from tiny_student import save_tiny_student

        save_tiny_student(self.folder / "student")
        with scripted.serve(on_request=self._count) as url:
            self.recipe = self.folder / "recipe.yaml"
            self.recipe.write_text(json.dumps(sections(self.folder / "student", url)))
            # the server imports before it forks for the first time, which is no part of a stage
            self.start("--version", self.whole).finish()
            for stage in STAGES:
                if self.whole.exists():
                    shutil.copytree(self.whole, self.ready(stage))
                begun = time.monotonic()
                code, said = self.start(stage, self.whole).finish()
                self.seconds[stage] = time.monotonic() - begun
                assert code == 0, said
            yield self

    def _count(self, body: dict[str, Any]) -> None:
        with self.lock:
            self.seen[json.dumps(body, sort_keys=True)] += 1
        time.sleep(0.02)

    def ready(self, stage: str) -> Path:
        """Give the folder as a stage found it."""
        return self.folder / f"before-{stage}"

    def copy(self, stage: str, name: str) -> Path:
        """Give a run of its own in which a stage is next."""
        out = self.folder / name
        if self.ready(stage).exists():
            shutil.copytree(self.ready(stage), out)
        return out

    def start(self, stage: str, out: Path, *settings: str, largest_file: int | None = None) -> Running:
        """Start a stage in a process of its own."""
        words = [stage, str(self.recipe), "--out", str(out), *(f"--set={one}" for one in settings)]
        if stage == "--version":
            words = [stage]
        if stage == "report":
            words = [stage, str(out), "--out", str(out / "report.html")]
        if stage == "export":
            words = ["export", str(out), "--format", "merged", "--verify", "2"]
        return start_command(*words, largest_file=largest_file)

    def difference(self, stage: str, out: Path) -> str | None:
        """Say what a stage made otherwise than the whole run; None if nothing."""
        ours, theirs = made(stage, out), made(stage, self.whole)
        differing = [name for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)]
        return f"{stage}: {', '.join(differing)}" if differing else None


def made(stage: str, out: Path) -> dict[str, Any]:
    """Give all that a stage made and that may not differ, by name."""
    folder = out / stage
    if stage == "export":
        files = [path for path in (folder / "grpo-merged").iterdir() if path.name != "README.md"]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    summary = read_json(folder / "done.json")["summary"]
    # what a server said of itself is the server's
    found: dict[str, Any] = {"done.json": {key: value for key, value in summary.items() if key != "servers"}}
    names = {
        "gen": ("traces.jsonl", "rejected.jsonl"),
        "sft": ("adapter/adapter_model.safetensors",),
        "grpo": ("adapter/adapter_model.safetensors", "completions.jsonl", "dev_rewards.jsonl"),
        "eval": [
            f"{name}/{file}" for name in ("base", "sft", "grpo") for file in ("predictions.jsonl", "judgements.jsonl")
        ],
    }[stage]
    files = {name: folder / name for name in names}
    found |= {name: hashlib.sha256(at.read_bytes()).hexdigest() if at.exists() else None for name, at in files.items()}
    rows = read_jsonl(folder / "metrics.jsonl")
    return found | {f"loss of step {place}": (row["step"], row.get("loss")) for place, row in enumerate(rows)}
