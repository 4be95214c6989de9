"""Stage sft in two processes (gloo, CPU): the same rows a step, the same losses, the same adapter as in one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from mbt_lite import cli
from mbt_lite.errors import ModelError
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.run_dir import RunDir
from mbt_lite.training.processes import share_evenly

ROOT = Path(__file__).parents[2]
LAUNCHED = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "mbt_lite"]
ALONE = [sys.executable, "-m", "mbt_lite"]
# Float sums may run in another order; with two micro-batches a step they were equal to the last bit.
LOSS_TOLERANCE, WEIGHT_TOLERANCE = 1e-5, 1e-5


@pytest.fixture
def recipe(student_folder: Path, tmp_path: Path) -> Path:
    samples = ROOT / "data_samples"
    sections = {
        "model": {"name": str(student_folder), "dtype": "float32"},
        "data": {
            "train": {"path": str(samples / "demo_train.jsonl"), "limit": 12},
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
            "save_every_steps": 2,
        },
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def succeed(program: list[str], stage: str, recipe: Path, out: Path) -> str:
    command = [*program, stage, str(recipe), "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def losses(out: Path) -> dict[int, float]:
    rows = [row for row in read_jsonl(out / "sft/metrics.jsonl") if "loss" in row]
    assert len({row["step"] for row in rows}) == len(rows), "a step stands there twice: two processes wrote"
    return {row["step"]: row["loss"] for row in rows}


@pytest.mark.slow
def test_sft_in_two_processes_trains_what_one_does(recipe: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    succeed(ALONE, "gen", recipe, one)
    shutil.copytree(one, two)
    succeed(ALONE, "sft", recipe, one)
    succeed(LAUNCHED, "sft", recipe, two)
    # as after a kill in the last save: two processes go on from the checkpoint before
    (two / "sft/done.json").unlink()
    shutil.rmtree(two / "sft/adapter")
    (two / "sft/checkpoints/checkpoint-6/rng_state_1.pth").write_bytes(b"half")
    said = succeed(LAUNCHED, "sft", recipe, two)
    assert "going on from" in said
    assert said.count("sft: adapter in ") == 1, "one process speaks"
    alone, shared = losses(one), losses(two)
    assert alone.keys() == shared.keys()
    assert len(alone) >= 6
    assert max(abs(alone[step] - shared[step]) for step in alone) <= LOSS_TOLERANCE
    ours, theirs = (load_file(out / "sft/adapter/adapter_model.safetensors") for out in (one, two))
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) <= WEIGHT_TOLERANCE
    assert read_json(two / "sft/done.json")["summary"]["steps"] == max(alone)


def first_of_two(stage: str, recipe: Path, out: Path) -> Result:
    """Run a command as the first process of two would, as far as it comes before they meet."""
    environment = {"RANK": "0", "WORLD_SIZE": "2"}
    return CliRunner(env=environment).invoke(cli.app, [stage, str(recipe), "--out", str(out)])


@pytest.mark.parametrize("stage", ["gen", "grpo", "eval", "run"])
def test_other_stages_refuse_several_processes(stage: str, recipe: Path, tmp_path: Path) -> None:
    result = first_of_two(stage, recipe, tmp_path / "run")
    assert result.exit_code == 2
    assert "only sft runs in several processes (got 2); start the others without a launcher" in result.stderr
    assert not (tmp_path / "run").exists()


def test_steps_that_cannot_be_shared_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert share_evenly("sft.gradient_accumulation_steps", 6) == 3
    with pytest.raises(ModelError, match=r"2 processes cannot share them evenly \(got 3\); choose a multiple of 2"):
        share_evenly("sft.gradient_accumulation_steps", 3)


def test_a_process_that_does_not_lead_writes_nothing(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run", leads=False)
    with run_dir.locked("sft") as folder:
        assert folder == tmp_path / "run/sft"
    run_dir.mark_done("sft", {}, {})
    assert not (tmp_path / "run").exists()
