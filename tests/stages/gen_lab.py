"""A laboratory for gen: a recipe over six demo questions, the student a stand-in (no model loads)."""

import io
import json
import types
from pathlib import Path
from typing import Any

import pytest

from mbt_lite import generation
from mbt_lite.console import Screen
from mbt_lite.data.questions import read_questions
from mbt_lite.generation.decoding import Rollout
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Question, to_row
from mbt_lite.run_dir import RunDir
from mbt_lite.stages import gen
from mbt_lite.student.token_counts import TokenCounts

SECTIONS: dict[str, Any] = {
    "model": {"name": "none"},
    "data": {"train": {"path": "data_samples/demo_train.jsonl"}, "dev": {"path": "data_samples/demo_dev.jsonl"}},
}


def demo_questions() -> list[Question]:
    return read_questions(Recipe.model_validate(SECTIONS).data.train, 0)


def make_recipe(folder: Path, kind: str = "mbt_r", questions: int = 6, **sections: Any) -> Recipe:
    """Give a recipe over the first questions of the demo; `sections` go over the defaults."""
    rows = demo_questions()[:questions]
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(to_row(question)) + "\n" for question in rows))
    data = {"train": {"path": str(path)}, "dev": {"path": "data_samples/demo_dev.jsonl"}}
    gen_section = {"kind": kind, **sections.pop("gen", {})}
    return Recipe.model_validate({**SECTIONS, "data": data, "gen": gen_section, **sections})


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the student: prompts always fit, drafts are wrong, the first of them is cut off."""
    hand_over(monkeypatch, guess)


def hand_over(monkeypatch: pytest.MonkeyPatch, generate: Any) -> None:
    """Put a student that completes by `generate` where the stage hands over to the one in this process."""
    local = types.SimpleNamespace(open_student=lambda model, adapter=None: generate, read_counts=count_words)
    # torch stays out
    monkeypatch.setattr(generation, "local", local, raising=False)


def guess(asked, decoding, wanted):
    """Complete prompts as no one would want it."""
    for position in sorted(wanted):
        ending = "length" if position == 0 else "stop"
        text = "<think>A guess.</think><answer>Nobody</answer>"
        yield Rollout(position, 0, text, tuple(range(position + 1)), ending, 9)


def count_words(model):
    """Count words in place of tokens; no prompt is too long."""
    return TokenCounts(
        lambda messages: 9,
        lambda text: len(text.split()),
        prefills_think=False,
        chat_template="words",
        controls=lambda text: [token for token in ("<|im_end|>",) if token in text],
    )


def run(recipe: Recipe, path: Path) -> str:
    """Run the stage; give what it printed."""
    out = io.StringIO()
    gen.run(recipe, RunDir(path), Screen(file=out, width=200))
    return out.getvalue()
