"""Runs of a tiny student, forked from a server that has imported the libraries, so that a fault costs no import."""

import collections
import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mbt_lite.files import read_json, read_jsonl
from mbt_lite.scripted import server as scripted

ROOT = Path(__file__).parents[2]
STAGES = ("gen", "sft", "grpo", "eval", "export")
LIBRARIES = [
    "torch", "transformers", "bitsandbytes", "peft", "datasets", "trl", "trl.trainer.sft_trainer",
    "trl.trainer.grpo_trainer", "sklearn.linear_model", "altair", "vl_convert", "mbt_lite.cli", "mbt_lite.export.run",
    "mbt_lite.training.sft", "mbt_lite.training.grpo", "mbt_lite.stages.gen", "mbt_lite.stages.eval",
]  # fmt: skip
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


def run_command(words: list[str], output: Connection, largest_file: int | None) -> None:
    """Run a command in this process as `python -m mbt_lite` does; no file may grow beyond `largest_file` bytes."""
    from mbt_lite.cli import main

    os.chdir(ROOT)
    sys.argv = ["mbt-lite", *words]
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", buffering=1, encoding="utf-8") for descriptor in (1, 2))
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    main()


@dataclasses.dataclass(slots=True)
class Running:
    """A command under way; its output is read all the time."""

    process: Any
    reader: threading.Thread
    output: list[bytes]

    def finish(self, seconds: float = 300) -> tuple[int, str]:
        """Give exit code and output; a command that hangs is killed, and has none."""
        self.process.join(seconds)
        assert not self.process.is_alive() or self.kill() is None, "it hangs"
        self.reader.join(10)
        return self.process.exitcode, b"".join(self.output).decode(errors="replace")

    def kill(self) -> None:
        """Kill it as `kill -9` does, unless it has ended: its number may be another's by now."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


class Lab:
    """The student, the recipe, the fork server, and a teacher that counts; `whole` is the run that was left alone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.whole = folder, folder / "whole"
        self.seconds: dict[str, float] = {}
        self.seen: collections.Counter[str] = collections.Counter()
        self.lock = threading.Lock()
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(LIBRARIES)

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
        if stage == "export":
            words = ["export", str(out), "--format", "merged", "--verify", "2"]
        reader, writer = multiprocessing.Pipe(duplex=False)
        process = self.context.Process(target=run_command, args=(words, writer, largest_file))
        process.start()
        writer.close()
        output: list[bytes] = []
        thread = threading.Thread(target=_drain, args=(reader, output), daemon=True)
        thread.start()
        return Running(process, thread, output)

    def difference(self, stage: str, out: Path) -> str | None:
        """Say what a stage made otherwise than the whole run; None if nothing."""
        ours, theirs = made(stage, out), made(stage, self.whole)
        differing = [name for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)]
        return f"{stage}: {', '.join(differing)}" if differing else None


def _drain(reader: Connection, output: list[bytes]) -> None:
    while chunk := os.read(reader.fileno(), 65536):
        output.append(chunk)
    reader.close()


def made(stage: str, out: Path) -> dict[str, Any]:
    """Give all that a stage made and that may not differ, by name."""
    folder = out / stage
    if stage == "export":
        files = [path for path in (folder / "grpo-merged").iterdir() if path.name != "README.md"]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    found: dict[str, Any] = {"done.json": read_json(folder / "done.json")["summary"]}
    names = {
        "gen": ("traces.jsonl", "rejected.jsonl"),
        "sft": ("adapter/adapter_model.safetensors",),
        "grpo": ("adapter/adapter_model.safetensors", "completions.jsonl", "dev_rewards.jsonl"),
        "eval": [
            f"{name}/{file}" for name in ("base", "sft", "grpo") for file in ("predictions.jsonl", "judgements.jsonl")
        ],
    }[stage]
    found |= {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    rows = read_jsonl(folder / "metrics.jsonl")
    return found | {f"loss of step {place}": (row["step"], row.get("loss")) for place, row in enumerate(rows)}
