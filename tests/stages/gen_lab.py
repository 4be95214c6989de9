"""A laboratory for gen: a recipe over six demo questions, the student a stand-in (no model loads)."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mbt_lite.data.questions import read_questions
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Completion, to_row
from mbt_lite.run_dir import RunDir
from mbt_lite.stages import gen

SECTIONS: dict[str, Any] = {
    "model": {"name": "none"},
    "data": {"train": {"path": "data_samples/demo_train.jsonl"}, "dev": {"path": "data_samples/demo_dev.jsonl"}},
}


def make_recipe(folder: Path, kind: str = "mbt_r", questions: int = 6, **sections: Any) -> Recipe:
    """Give a recipe over the first questions of the demo; `sections` go over the defaults."""
    rows = read_questions(Recipe.model_validate(SECTIONS).data.train, 0)[:questions]
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(to_row(question)) + "\n" for question in rows))
    data = {"train": {"path": str(path)}, "dev": {"path": "data_samples/demo_dev.jsonl"}}
    gen_section = {"kind": kind, **sections.pop("gen", {})}
    return Recipe.model_validate({**SECTIONS, "data": data, "gen": gen_section, **sections})


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the student: prompts always fit, drafts are wrong, the first of them is cut off."""

    def roll_out(recipe, questions):
        for position, question in enumerate(questions):
            yield Completion(
                question_id=question.question_id,
                rollout_index=0,
                text="<think>A guess.</think><answer>Nobody</answer>",
                finish_reason="length" if question.question_id.endswith("0000") else "stop",
                prompt_tokens=9,
                completion_tokens=position + 1,
            )

    monkeypatch.setattr(gen, "_roll_out", roll_out)
    monkeypatch.setattr(gen, "_fit", fit)


def fit(recipe, questions):
    """Count words in place of tokens; nothing is too long."""
    return gen.Fitted(list(questions), 0, lambda messages: 9, lambda text: len(text.split()))


def run(recipe: Recipe, path: Path) -> str:
    """Run the stage; give what it printed."""
    out = io.StringIO()
    gen.run(recipe, RunDir(path), Console(file=out, width=200))
    return out.getvalue()
