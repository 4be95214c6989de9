"""Training in two processes (gloo, CPU): the same rows and completions a step, losses and adapter as in one."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from mbt_lite import cli
from mbt_lite.errors import MbtError, ModelError, machine_line
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.recipe.schema import Grpo
from mbt_lite.run_dir import RunDir
from mbt_lite.training.processes import share_evenly, share_rows

ROOT = Path(__file__).parents[2]
LAUNCHED = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "mbt_lite"]
# two steps an epoch of grpo, and dev questions that are left over
LIMITS = ("--set", "data.train.limit=8", "--set", "data.dev.limit=90")
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
        # epochs of two steps; rewards differ by the length term, in some groups only, and in the fourth step in none
        "grpo": {
            "start": "base",
            "steps": 6,
            "stop_after_dead_steps": 1,
            "prompts_per_step": 4,
            "group_size": 4,
            "micro_batch_size": 4,
            "rollout_batch_size": 16,
            "learning_rate": 1e-3,
            "max_completion_tokens": 128,
            "gradient_checkpointing": False,
            "save_every_steps": 3,
            "dev_questions": 2,
            "reward": {"weights": {"answer": 4.0, "length": 1.0}, "overlong_buffer_tokens": 100},
        },
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def run_here(stage: str, recipe: Path, out: Path, *settings: str) -> str:
    """Run a command in this process, with as many threads as a launcher gives each of its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    done = CliRunner().invoke(cli.app, [stage, str(recipe), "--out", str(out), *settings])
    torch.set_num_threads(threads)
    assert done.exit_code == 0, done.output
    return done.output


def launch(stage: str, recipe: Path, out: Path, *settings: str) -> str:
    command = [*LAUNCHED, stage, str(recipe), "--out", str(out), *settings]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def losses(out: Path) -> dict[int, float]:
    rows = [row for row in read_jsonl(out / "sft/metrics.jsonl") if "loss" in row]
    assert len({row["step"] for row in rows}) == len(rows), "a step stands there twice: two processes wrote"
    return {row["step"]: row["loss"] for row in rows}


def assert_same_adapters(one: Path, two: Path) -> None:
    ours, theirs = (load_file(stage / "adapter/adapter_model.safetensors") for stage in (one, two))
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) <= WEIGHT_TOLERANCE


@pytest.mark.slow
def test_sft_in_two_processes_trains_what_one_does(recipe: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run_here("gen", recipe, one)
    shutil.copytree(one, two)
    run_here("sft", recipe, one)
    launch("sft", recipe, two)
    # as after a kill in the last save: two processes go on from the checkpoint before
    (two / "sft/done.json").unlink()
    shutil.rmtree(two / "sft/adapter")
    (two / "sft/checkpoints/checkpoint-6/rng_state_1.pth").write_bytes(b"half")
    said = launch("sft", recipe, two)
    assert "going on from" in said
    assert said.count("sft: adapter in ") == 1, "one process speaks"
    alone, shared = losses(one), losses(two)
    assert alone.keys() == shared.keys()
    assert len(alone) >= 6
    assert max(abs(alone[step] - shared[step]) for step in alone) <= LOSS_TOLERANCE
    assert_same_adapters(one / "sft", two / "sft")
    assert read_json(two / "sft/done.json")["summary"]["steps"] == max(alone)


def figures(stage: Path) -> list[dict[str, float]]:
    """Read what a step says of itself, but for the clock and the machine."""
    own = ("time/", "memory/", "speed/", "step_time", "seconds")
    return [
        {name: value for name, value in row.items() if not name.startswith(own)}
        for row in read_jsonl(stage / "metrics.jsonl")
    ]


def assert_same_grpo(one: Path, two: Path) -> None:
    for file in ("completions.jsonl", "dev_rewards.jsonl", "warnings.jsonl"):
        assert read_jsonl(one / file) == read_jsonl(two / file), file
    ours, theirs = figures(one), figures(two)
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for row, other in zip(ours, theirs, strict=True):
        assert other == pytest.approx(row, abs=LOSS_TOLERANCE)
    assert_same_adapters(one, two)


def live_groups(rows: list[dict[str, Any]]) -> list[bool]:
    """Tell which groups of a step, of four completions each, have rewards that differ."""
    rewards = [row["reward"] for row in rows]
    return [len(set(rewards[start : start + 4])) > 1 for start in range(0, len(rewards), 4)]


@pytest.mark.slow
def test_grpo_in_two_processes_trains_what_one_does(recipe: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run_here("grpo", recipe, one, *LIMITS)
    launch("grpo", recipe, two, *LIMITS)
    assert_same_grpo(one / "grpo", two / "grpo")
    rows = read_jsonl(one / "grpo/completions.jsonl")
    assert [row["step"] for row in rows] == [step for step in (1, 2, 3, 4) for _ in range(16)]
    lived = [live_groups(rows[start : start + 16]) for start in range(0, 64, 16)]
    assert any(any(step[:2]) != any(step[2:]) for step in lived), "no process had nothing to learn beside one that had"
    stopped = read_json(two / "grpo/done.json")["summary"]["stopped_early"]
    assert stopped == "all rewards of each group were equal for 1 steps (got to step 4)", "the leader's word ends both"
    # one process goes on in the second epoch of what two began
    (two / "grpo/done.json").unlink()
    shutil.rmtree(two / "grpo/checkpoints/checkpoint-4")
    assert "going on from" in run_here("grpo", recipe, two, *LIMITS)
    assert_same_grpo(one / "grpo", two / "grpo")


def first_of_two(stage: str, recipe: Path, out: Path) -> Result:
    """Run a command as the first process of two would, as far as it comes before they meet."""
    environment = {"RANK": "0", "WORLD_SIZE": "2"}
    return CliRunner(env=environment).invoke(cli.app, [stage, str(recipe), "--out", str(out)])


@pytest.mark.parametrize("stage", ["gen", "eval", "run"])
def test_other_stages_refuse_several_processes(stage: str, recipe: Path, tmp_path: Path) -> None:
    result = first_of_two(stage, recipe, tmp_path / "run")
    assert result.exit_code == 2
    assert "only sft and grpo run in several processes (got 2); start the others without a launcher" in result.stderr
    assert not (tmp_path / "run").exists()


def test_steps_that_cannot_be_shared_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert share_evenly("sft.gradient_accumulation_steps", 6) == 3
    with pytest.raises(ModelError, match=r"2 processes cannot share them evenly \(got 3\); choose a multiple of 2"):
        share_evenly("sft.gradient_accumulation_steps", 3)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("prompts_per_step", 3, "grpo.prompts_per_step: 2 processes cannot share them evenly (got 3)"),
        ("micro_batch_size", 16, "must divide prompts_per_step x group_size / 2 processes = 8 (got 16)"),
    ],
)
def test_grpo_refuses_what_cannot_be_shared(key: str, value: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    settings = {"prompts_per_step": 4, "group_size": 4, "micro_batch_size": 4}
    assert share_rows(Grpo.model_validate(settings)) == 8
    with pytest.raises(MbtError) as refused:
        share_rows(Grpo.model_validate(settings | {key: value}))
    assert said in str(refused.value)


def test_a_process_that_does_not_lead_writes_nothing(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run", leads=False)
    with run_dir.locked("sft") as folder:
        assert folder == tmp_path / "run/sft"
    run_dir.mark_done("sft", {}, {})
    assert not (tmp_path / "run").exists()


def test_a_process_that_lost_another_says_so_in_one_line() -> None:
    lost = RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:22405. Check the logs. GLHF!")
    assert machine_line(lost) == (
        "another process of this launch ended (connection closed by peer); mend what it says, and run them again"
    )
