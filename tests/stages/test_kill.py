"""Stages in their own process, killed with SIGKILL in the middle and started again by the same command.

The student is a two-layer Llama with random weights in real 4-bit, saved as a model folder. Its size aside, all that
runs here is what trains a real student.
"""

import collections
import json
import signal
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import forked
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


def begin(stage: str, recipe: Path, out: Path, *overrides: str) -> forked.Running:
    settings = [word for override in overrides for word in ("--set", override)]
    return forked.start_command(stage, str(recipe), "--out", str(out), *settings)


def run(stage: str, recipe: Path, out: Path, *overrides: str) -> str:
    code, said = begin(stage, recipe, out, *overrides).finish()
    assert code == 0, said
    return said


def kill_when(path: Path, lines: int, stage: str, recipe: Path, out: Path, *overrides: str) -> None:
    """Start a stage and kill it once a file has so many lines."""
    running = begin(stage, recipe, out, *overrides)
    deadline = time.monotonic() + 240
    while len(read_jsonl(path)) < lines:
        assert running.process.is_alive(), running.finish()
        assert time.monotonic() < deadline
        time.sleep(0.003)
    running.kill()
    assert running.process.exitcode == -signal.SIGKILL
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


@pytest.mark.slow
def test_grpo_alone_killed_goes_on_from_the_newest_complete_checkpoint(recipe: Path, tmp_path: Path) -> None:
    """From a fresh adapter, without gen and sft; the kills of all stages together are in tests/faults."""
    whole, killed, alone = tmp_path / "whole", tmp_path / "killed", "grpo.start=base"
    run("grpo", recipe, whole, alone)
    kill_when(killed / "grpo/metrics.jsonl", 5, "grpo", recipe, killed, alone)
    partial = damage_newest_checkpoint(killed / "grpo/checkpoints")
    said = run("grpo", recipe, killed, alone)
    assert f"partial-{partial}" in said
    assert "grpo: going on from" in said
    ours, theirs = losses(killed / "grpo/metrics.jsonl"), losses(whole / "grpo/metrics.jsonl")
    assert list(ours) == list(theirs) == list(range(1, 11))
    assert ours == theirs
    adapters = [out / "grpo/adapter/adapter_model.safetensors" for out in (killed, whole)]
    assert largest_difference(*adapters) == 0
    # B starts at zero: the steps with their different rewards have moved it
    assert max(float(weight.abs().max()) for name, weight in load_file(adapters[0]).items() if "lora_B" in name) > 0
    assert not (whole / "sft").exists()
    completions = read_jsonl(killed / "grpo/completions.jsonl")
    assert collections.Counter(row["step"] for row in completions) == dict.fromkeys(range(1, 11), 8)
    assert completions == read_jsonl(whole / "grpo/completions.jsonl")
    assert len({row["reward"] for row in completions}) > 4
    for name, rows in (("dev_rewards.jsonl", 6), ("warnings.jsonl", 1)):
        kept = read_jsonl(killed / "grpo" / name)
        assert kept == read_jsonl(whole / "grpo" / name)
        assert len(kept) >= rows
    assert read_json(killed / "grpo/done.json")["summary"] == read_json(whole / "grpo/done.json")["summary"]
