"""Stages in their own process, killed with SIGKILL in the middle and started again by the same command.

The student is a two-layer Llama with random weights in real 4-bit, saved as a model folder. Its size aside, all that
runs here is what trains a real student.
"""

import collections
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import yaml
from safetensors.torch import load_file

from mbt_lite.files import read_json, read_jsonl
from mbt_lite.scripted import server as scripted

ROOT = Path(__file__).parents[2]
QUESTIONS = 24


@pytest.fixture
def recipe(student_folder: Path, tmp_path: Path) -> Path:
    """Write a small recipe; its steps are many and short, so that a kill finds the middle."""
    samples = ROOT / "data_samples"
    sections = {
        "model": {"name": str(student_folder), "dtype": "float32"},
        "data": {
            "train": {"path": str(samples / "demo_train.jsonl"), "limit": QUESTIONS},
            "dev": {"path": str(samples / "demo_dev.jsonl"), "limit": 4},
            "max_prompt_tokens": 512,
        },
        "lora": {"rank": 4, "alpha": 8},
        "gen": {"kind": "mbt_s", "max_completion_tokens": 24, "batch_size": 2},
        "sft": {
            "learning_rate": 1e-3,
            "epochs": 2.0,
            "micro_batch_size": 2,
            "gradient_accumulation_steps": 1,
            "max_sequence_tokens": 1024,
            "gradient_checkpointing": False,
            "save_every_steps": 2,
        },
        "grpo": {
            "steps": 10,
            "prompts_per_step": 2,
            "group_size": 4,
            "micro_batch_size": 4,
            "rollout_batch_size": 8,
            "learning_rate": 1e-3,
            "max_completion_tokens": 256,
            "gradient_checkpointing": False,
            "save_every_steps": 2,
            "dev_questions": 2,
            # the tiny student never answers: the length term keeps its rewards apart
            "reward": {"weights": {"answer": 4.0, "length": 1.0}, "overlong_buffer_tokens": 255},
        },
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def command(stage: str, recipe: Path, out: Path, *overrides: str) -> list[str]:
    settings = [word for override in overrides for word in ("--set", override)]
    return [sys.executable, "-m", "mbt_lite", stage, str(recipe), "--out", str(out), *settings]


def run(stage: str, recipe: Path, out: Path, *overrides: str) -> str:
    done = subprocess.run(command(stage, recipe, out, *overrides), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kill_when(path: Path, lines: int, stage: str, recipe: Path, out: Path, *overrides: str) -> None:
    """Start a stage and kill it once a file has so many lines."""
    with (out.parent / f"{out.name}-{stage}-killed.log").open("w") as log:
        process = subprocess.Popen(command(stage, recipe, out, *overrides), cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + 240
        while len(read_jsonl(path)) < lines:
            assert process.poll() is None, Path(log.name).read_text()
            assert time.monotonic() < deadline
            time.sleep(0.003)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (out / stage / "done.json").exists()


def losses(path: Path) -> dict[int, float]:
    """Give step -> loss; a step that stands there twice is an error."""
    rows = [row for row in read_jsonl(path) if "loss" in row]
    assert len({row["step"] for row in rows}) == len(rows)
    return {row["step"]: row["loss"] for row in rows}


def largest_difference(first: Path, second: Path) -> float:
    ours, theirs = load_file(first), load_file(second)
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def damage_newest_checkpoint(folder: Path) -> str:
    """Leave the newest checkpoint as a kill in the middle of a save does."""
    newest = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    (newest / "optimizer.pt").unlink()
    return newest.name


@pytest.mark.slow
def test_gen_killed_while_drafting_and_while_asking_does_nothing_twice(recipe: Path, tmp_path: Path) -> None:
    out, seen, lock = tmp_path / "run", collections.Counter(), threading.Lock()

    def count(body: dict) -> None:
        with lock:
            seen[json.dumps(body, sort_keys=True)] += 1
        time.sleep(0.05)

    with scripted.serve(on_request=count) as url:
        settings = ("gen.kind=mbt_r", f"teacher.base_url={url}", "teacher.concurrency=2")
        kill_when(out / "gen/rollouts.jsonl", QUESTIONS // 2, "gen", recipe, out, *settings)
        drafted = read_jsonl(out / "gen/rollouts.jsonl")
        assert not seen
        kill_when(out / "gen/replies.jsonl", 5, "gen", recipe, out, *settings)
        replied = {row["key"] for row in read_jsonl(out / "gen/replies.jsonl")}
        time.sleep(0.2)
        before = seen.copy()
        run("gen", recipe, out, *settings)
    drafts, replies = read_jsonl(out / "gen/rollouts.jsonl"), read_jsonl(out / "gen/replies.jsonl")
    assert drafts[: len(drafted)] == drafted
    assert sorted(row["question_id"] for row in drafts) == sorted({row["question_id"] for row in drafts})
    assert len(drafts) == QUESTIONS
    assert len({row["key"] for row in replies}) == len(replies) == len(seen)
    # asked twice: only what was under way at the kill, so sent and not yet on disk
    twice = [body for body, times in seen.items() if times > 1]
    assert len(twice) == len(before) - len(replied) <= 2
    summary = read_json(out / "gen/done.json")["summary"]
    assert summary["traces"] == QUESTIONS - summary["drafts_cut_off"] > 0


@pytest.fixture
def traces(recipe: Path, tmp_path: Path) -> Path:
    """Run gen once (mbt_s: no student needed) in the folder of the run that is not killed."""
    whole = tmp_path / "whole"
    run("gen", recipe, whole)
    assert read_json(whole / "gen/done.json")["summary"]["traces"] == QUESTIONS
    return whole


@pytest.mark.slow
def test_sft_and_grpo_killed_go_on_from_the_newest_complete_checkpoint(
    recipe: Path, traces: Path, tmp_path: Path
) -> None:
    whole, killed = traces, tmp_path / "killed"
    subprocess.run(["cp", "-r", str(whole), str(killed)], check=True)
    for stage, steps, kill_at in (("sft", 24, 9), ("grpo", 10, 5)):
        run(stage, recipe, whole)
        kill_when(killed / stage / "metrics.jsonl", kill_at, stage, recipe, killed)
        partial = damage_newest_checkpoint(killed / stage / "checkpoints")
        said = run(stage, recipe, killed)
        assert f"partial-{partial}" in said
        assert f"{stage}: going on from" in said
        ours, theirs = losses(killed / stage / "metrics.jsonl"), losses(whole / stage / "metrics.jsonl")
        assert list(ours) == list(theirs) == list(range(1, steps + 1))
        assert ours == theirs
        adapters = [out / stage / "adapter/adapter_model.safetensors" for out in (killed, whole)]
        assert largest_difference(*adapters) == 0
    completions = read_jsonl(killed / "grpo/completions.jsonl")
    assert collections.Counter(row["step"] for row in completions) == dict.fromkeys(range(1, 11), 8)
    assert completions == read_jsonl(whole / "grpo/completions.jsonl")
    assert len({row["reward"] for row in completions}) > 4
    for name, rows in (("dev_rewards.jsonl", 6), ("warnings.jsonl", 1)):
        kept = read_jsonl(killed / "grpo" / name)
        assert kept == read_jsonl(whole / "grpo" / name)
        assert len(kept) >= rows
    assert read_json(killed / "grpo/done.json")["summary"] == read_json(whole / "grpo/done.json")["summary"]


@pytest.mark.slow
def test_grpo_alone_starts_from_a_fresh_adapter(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "alone"
    run("grpo", recipe, out, "grpo.start=base", "grpo.steps=1")
    saved = load_file(out / "grpo/adapter/adapter_model.safetensors")
    # B starts at zero: the one step with its different rewards has moved it
    assert max(float(weight.abs().max()) for name, weight in saved.items() if "lora_B" in name) > 0
    assert not (out / "sft").exists()
