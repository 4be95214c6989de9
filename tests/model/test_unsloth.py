"""The second backend beside the first, in unsloth's CPU mode; processes of their own, for unsloth patches libraries."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mbt_lite.run_dir import read_json, read_jsonl

ROOT = Path(__file__).parents[2]
VARIANTS = ("lora", "rslora", "dora")
# Losses and weights of three steps in float32: the sums run in another order.
LOSS_TOLERANCE, WEIGHT_TOLERANCE = 2e-4, 2e-3
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("unsloth") is None, reason="needs the unsloth set: `make test-unsloth`"
    ),
]


# The base set's Python: without a GPU the trl that unsloth asks for trains through unsloth only.
PYTHON = {"transformers": os.environ.get("MBT_BASE_PYTHON", sys.executable), "unsloth": sys.executable}


def run(python: str, *command: str | Path) -> None:
    done = subprocess.run([python, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, student_folder: Path) -> Path:
    """Train a tiny 4-bit student by both backends on the same traces; a folder for each backend."""
    folder = tmp_path_factory.mktemp("both")
    sections = {
        "model": {"name": str(student_folder), "dtype": "float32"},
        "data": {
            "train": {"path": "data_samples/demo_train.jsonl", "limit": 12},
            "dev": {"path": "data_samples/demo_dev.jsonl", "limit": 2},
            "max_prompt_tokens": 512,
        },
        "lora": {"rank": 4, "alpha": 8},
        "gen": {"kind": "mbt_s"},
        "sft": {
            "learning_rate": 1e-3,
            "warmup_fraction": 0.0,
            "micro_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "max_sequence_tokens": 1024,
        },
    }
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(sections))
    run(sys.executable, "-m", "mbt_lite", "gen", recipe, "--out", folder / "run")
    for backend, python in PYTHON.items():
        script = Path(__file__).with_name("backend_steps.py")
        traces = folder / "run/gen/traces.jsonl"
        run(python, script, recipe, traces, backend, folder / backend, folder / "transformers")
    return folder


def test_both_backends_train_on_the_same_tokens_and_masks(both: Path) -> None:
    ours, theirs = (json.loads((both / backend / "rows.json").read_text()) for backend in ("transformers", "unsloth"))
    assert len(ours) > 8
    assert ours == theirs


@pytest.mark.parametrize("variant", VARIANTS)
def test_both_backends_give_the_same_losses_and_adapter(both: Path, variant: str) -> None:
    from safetensors.torch import load_file

    ends = [both / backend / variant / "continued" for backend in ("transformers", "unsloth")]
    ours, theirs = ([row["loss"] for row in read_jsonl(end / "metrics.jsonl") if "loss" in row] for end in ends)
    assert len(ours) == len(theirs) == 3
    assert ours[0] != ours[2], "nothing was learned: the test shows nothing"
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= LOSS_TOLERANCE
    ours, theirs = (load_file(end / "adapter/adapter_model.safetensors") for end in ends)
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) <= WEIGHT_TOLERANCE


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_fresh_adapter_of_unsloth_is_of_its_kind_in_float32_and_moves(both: Path, variant: str) -> None:
    import torch
    from safetensors.torch import load_file

    adapter = both / "unsloth" / variant / "fresh" / "adapter"
    config = read_json(adapter / "adapter_config.json")
    assert (config["use_rslora"], config["use_dora"]) == (variant == "rslora", variant == "dora")
    weights = load_file(adapter / "adapter_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert any("magnitude" in name for name in weights) == (variant == "dora")
    # B starts at zero
    moved = {name: bool(weight.any()) for name, weight in weights.items() if "lora_B" in name}
    assert len(moved) == 2 * 7
    assert all(moved.values())
