"""The whole loop on real benchmark rows, in one command and its own process, with a tiny student in real 4-bit."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mbt_lite.files import read_json, read_jsonl

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_run_all_stages_on_musique_rows(student_folder: Path, shared_data: Path, tmp_path: Path) -> None:
    sections = {
        "model": {"name": str(student_folder), "dtype": "float32"},
        "data": {
            "train": {"path": str(shared_data / "musique_ans_train_100.jsonl"), "limit": 8},
            "dev": {"path": str(shared_data / "musique_ans_dev_100.jsonl"), "limit": 4},
            "max_prompt_tokens": 1500,
        },
        "lora": {"rank": 4, "alpha": 8},
        "gen": {"kind": "mbt_r", "max_completion_tokens": 64, "batch_size": 4},
        "sft": {"max_sequence_tokens": 2500, "micro_batch_size": 1, "gradient_accumulation_steps": 2},
        "grpo": {
            "steps": 1,
            "prompts_per_step": 2,
            "group_size": 2,
            "micro_batch_size": 2,
            "max_completion_tokens": 128,
            "reward": {"overlong_buffer_tokens": 16},
        },
        "eval": {"max_completion_tokens": 64, "batch_size": 4},
    }
    path, out = tmp_path / "recipe.yaml", tmp_path / "run"
    path.write_text(yaml.safe_dump(sections))
    command = [sys.executable, "-m", "mbt_lite", "run", str(path), "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = read_json(out / "gen/done.json")["summary"]
    # 20 paragraphs never fit: distractors were dropped, and counted
    assert summary["dropped_documents"] > 0
    assert summary["traces"] + sum(summary["rejected"].values()) + summary["drafts_cut_off"] == summary["drafts"]
    for variant in ("base", "metacognitive", "sft", "grpo"):
        metrics = read_json(out / "eval" / variant / "metrics.json")
        predictions = read_jsonl(out / "eval" / variant / "predictions.jsonl")
        assert len(predictions) == len({row["question_id"] for row in predictions}) > 0
        assert metrics
    assert (out / "eval/report.html").stat().st_size > 10_000
