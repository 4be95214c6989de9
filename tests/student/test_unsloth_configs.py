"""unsloth's own CUDA trainers, generated and run on a CPU (see `unsloth_cuda.py`), obey the recipe.

What its classes make of our settings is compared field by field with what TRL's make of the same, and the batches that
its trainers see are counted.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbt_lite.files import read_jsonl

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("unsloth") is None, reason="needs the unsloth set: `make test-unsloth`"
    ),
]
GROUP, PROMPTS, LONGEST = 4, 4, 48
RECIPE: dict[str, Any] = {
    "model": {"name": "tiny", "dtype": "float32"},
    "data": {"train": {"path": "data_samples/demo_train.jsonl"}, "dev": {"path": "data_samples/demo_dev.jsonl"}},
    "lora": {"rank": 4, "alpha": 8},
    # rows of a micro-batch as the shipped recipes have them: one in sft, a group in grpo
    "sft": {"micro_batch_size": 1, "gradient_accumulation_steps": 4, "gradient_checkpointing": False},
    "grpo": {
        "start": "base",
        "steps": 2,
        "prompts_per_step": PROMPTS,
        "group_size": GROUP,
        "micro_batch_size": GROUP,
        "max_completion_tokens": LONGEST,
        "gradient_checkpointing": False,
        "reward": {"weights": {"answer": 1.0}, "overlong_buffer_tokens": 8},
    },
}
# Fields in which a trainer of unsloth differs from TRL's and may, each with the reason.
MAY_DIFFER = {
    "distributed_state": "an object of its own for each",
    "gradient_checkpointing_kwargs": "how its own checkpoints compute a layer anew",
    "eval_accumulation_steps": "how often results of an evaluation leave the card; ours keep none",
    "dataset_num_proc": "rows are tokenised already",
    "padding_free": "decided by its trainer: rows end to end",
    "generation_kwargs": "our rollouts do not use them; {} for none",
    "vllm_importance_sampling_correction": "TRL's own vLLM is off",
    "router_aux_loss_coef": "for mixtures of experts",
    "per_device_eval_batch_size": "grpo evaluates by rollouts of its own",
    "remove_unused_columns": "the columns of sft are those that are used",
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, student_folder: Path) -> dict[str, Any]:
    """Generate and run the trainers in a process of their own."""
    folder = tmp_path_factory.mktemp("cuda")
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    out = folder / "out"
    out.mkdir()
    script = Path(__file__).with_name("unsloth_cuda.py")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "UNSLOTH_COMPILE_LOCATION": str(folder / "compiled"), "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    command = [sys.executable, str(script), str(student_folder), str(recipe), str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    found: dict[str, Any] = json.loads((out / "told.json").read_text())
    for stage in ("sft", "grpo"):
        found[stage]["metrics"] = read_jsonl(out / stage / "metrics.jsonl")
    return found


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_the_trainer_is_unsloths_and_ours(stage: str, told: dict[str, Any]) -> None:
    names = told[stage]["class"]
    assert names[0] in ("CountingTrainer", "ReducedGRPOTrainer")
    assert any(name.startswith("Unsloth") for name in names), names


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_every_field_is_what_the_recipe_says(stage: str, told: dict[str, Any]) -> None:
    wanted, found = told[stage]["wanted"], told[stage]["args"]
    fields = [name for name in told[stage]["fields"] if name not in MAY_DIFFER]
    assert len(fields) > 100
    assert {name: found[name] for name in fields} == {name: wanted[name] for name in fields}


def share(batches: list[list[int]]) -> float:
    return sum(real for real, _ in batches) / sum(computed for _, computed in batches)


def test_sft_computes_hardly_any_padding(told: dict[str, Any]) -> None:
    assert len(told["sft"]["batches"]) == 16
    assert share(told["sft"]["batches"]) >= 0.9


def test_sft_counts_its_tokens(told: dict[str, Any]) -> None:
    steps = [row for row in told["sft"]["metrics"] if "loss" in row]
    assert len(steps) == 4
    assert steps[-1]["num_tokens"] == sum(real for real, _ in told["sft"]["batches"])
    assert all(row["speed/tokens_per_second"] > 0 for row in steps)


def test_grpo_computes_a_prompt_once_a_group_and_no_padding(told: dict[str, Any]) -> None:
    """A batch is checked against single rows when its shape is new; of the live groups one at least was packed."""
    grpo = told["grpo"]
    packed = grpo["batches"][: grpo["batches_after_step"][0]]
    assert packed
    assert share(packed) >= 0.9
    live = [group for group in range(PROMPTS) if group % 2]
    lengths = [grpo["completions"][group * GROUP : (group + 1) * GROUP] for group in live]
    shared = {grpo["prompts"][group * GROUP] + sum(own) for group, own in zip(live, lengths, strict=True)}
    separate = {GROUP * grpo["prompts"][group * GROUP] + sum(own) for group, own in zip(live, lengths, strict=True)}
    computed = {count for _, count in packed}
    assert computed & shared or computed & {count - 1 for count in shared}, (computed, shared, separate)


def test_dead_groups_cost_no_pass_and_a_dead_step_moves_nothing(told: dict[str, Any]) -> None:
    grpo = told["grpo"]
    first, second = grpo["batches_after_step"]
    assert first > 0
    assert second == first, "rows of zero advantage were computed"
    before, after_live, after_dead = grpo["weights"]
    assert before != after_live
    assert after_live == after_dead
    assert grpo["told"] == "" or "computes the prompt anew" not in grpo["told"]


def test_grpo_tells_how_far_the_rollouts_are_from_unsloths_own_log_probabilities(told: dict[str, Any]) -> None:
    """They were computed row by row in a plain forward pass."""
    steps = [row for row in told["grpo"]["metrics"] if "mismatch/kl" in row]
    assert len(steps) == 2
    assert all(row["mismatch/kl"] < 1e-6 and row["mismatch/largest"] < 1e-3 for row in steps), steps
