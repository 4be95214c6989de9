"""Stage sft in two processes (gloo, CPU): the same rows a step, the same losses, the same adapter as in one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import yaml
from safetensors.torch import load_file

from mbt_lite.run_dir import read_json, read_jsonl

ROOT = Path(__file__).parents[2]
LAUNCHED = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "mbt_lite"]
ALONE = [sys.executable, "-m", "mbt_lite"]
# Float sums in another order, twelve steps of Adam later.
LOSS_TOLERANCE, WEIGHT_TOLERANCE = 1e-4, 1e-3


@pytest.fixture
def recipe(student_folder: Path, tmp_path: Path) -> Path:
    samples = ROOT / "data_samples"
    sections = {
        "model": {"name": str(student_folder), "dtype": "float32"},
        "data": {
            "train": {"path": str(samples / "demo_train.jsonl"), "limit": 24},
            "dev": {"path": str(samples / "demo_dev.jsonl"), "limit": 4},
            "max_prompt_tokens": 512,
        },
        "lora": {"rank": 4, "alpha": 8},
        "gen": {"kind": "mbt_s"},
        "sft": {
            "learning_rate": 1e-3,
            "epochs": 2.0,
            "micro_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "max_sequence_tokens": 1024,
            "gradient_checkpointing": False,
            "save_every_steps": 4,
        },
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def run(program: list[str], stage: str, recipe: Path, out: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    overrides = [word for setting in settings for word in ("--set", setting)]
    command = [*program, stage, str(recipe), "--out", str(out), *overrides]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def succeed(program: list[str], stage: str, recipe: Path, out: Path, *settings: str) -> str:
    done = run(program, stage, recipe, out, *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def losses(out: Path) -> dict[int, float]:
    rows = [row for row in read_jsonl(out / "sft/metrics.jsonl") if "loss" in row]
    assert len({row["step"] for row in rows}) == len(rows), "a step stands there twice: two processes wrote"
    return {row["step"]: row["loss"] for row in rows}


@pytest.mark.slow
def test_sft_in_two_processes_trains_what_one_does(recipe: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for out in (one, two):
        succeed(ALONE, "gen", recipe, out)
    succeed(ALONE, "sft", recipe, one)
    said = succeed(LAUNCHED, "sft", recipe, two)
    assert said.count("sft: adapter in ") == 1, "one process speaks"
    alone, shared = losses(one), losses(two)
    assert alone.keys() == shared.keys()
    assert len(alone) >= 10
    assert max(abs(alone[step] - shared[step]) for step in alone) <= LOSS_TOLERANCE
    ours, theirs = (load_file(out / "sft/adapter/adapter_model.safetensors") for out in (one, two))
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) <= WEIGHT_TOLERANCE
    assert read_json(two / "sft/done.json")["summary"]["steps"] == max(alone)
    # a launch that finds its work done says so and ends, in every process
    assert "done already" in succeed(LAUNCHED, "sft", recipe, two)
    print(json.dumps({"losses": max(abs(alone[step] - shared[step]) for step in alone)}))
