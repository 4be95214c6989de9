"""Stage grpo in this process on the tiny 4-bit student: its recipe, and how it is run."""

import io
import json
from pathlib import Path
from typing import Any

from mbt_lite.console import Screen
from mbt_lite.recipe.schema import Recipe
from mbt_lite.run_dir import RunDir
from mbt_lite.stages import grpo

ROOT = Path(__file__).parents[2]
QUESTIONS = 6


def recipe(student_folder: Path, gen: dict[str, Any] | None = None, **settings: Any) -> Recipe:
    samples = ROOT / "data_samples"
    section = {
        "start": "base",
        "steps": 2,
        "prompts_per_step": 2,
        "group_size": 4,
        "micro_batch_size": 4,
        "rollout_batch_size": 8,
        "learning_rate": 1e-2,
        "max_completion_tokens": 256,
        "gradient_checkpointing": False,
        "save_every_steps": 1,
        # the tiny student never answers: the length term keeps its rewards apart
        "reward": {"weights": {"answer": 4.0, "length": 1.0}, "overlong_buffer_tokens": 255},
    }
    sections = {
        "model": {"name": str(student_folder), "dtype": "float32"},
        "data": {
            "train": {"path": str(samples / "demo_train.jsonl"), "limit": QUESTIONS},
            "dev": {"path": str(samples / "demo_dev.jsonl"), "limit": 93},
            "max_prompt_tokens": 512,
        },
        "lora": {"rank": 4, "alpha": 8},
        "gen": gen or {},
        "grpo": section | settings,
    }
    return Recipe.model_validate_json(json.dumps(sections))


def run(made: Recipe, run_dir: RunDir, said: io.StringIO | None = None) -> str:
    """Run the stage; give what it said, which `said` also has when it fails."""
    said = said or io.StringIO()
    grpo.run(made, run_dir, Screen(file=said, width=200))
    return said.getvalue()
