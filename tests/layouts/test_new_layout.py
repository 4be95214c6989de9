"""What a new layout costs: one module, here `TOY`, and its line in `LAYOUTS`, here the last of `SESSION`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mbt_lite
from mbt_lite.errors import DataError
from mbt_lite.layouts import LAYOUTS, layout_named

TOY = """
from mbt_lite.layouts.fields import field, text
from mbt_lite.layouts.layout import Layout, whole
from mbt_lite.records import Document, Question

def read(row, where):
    documents = (Document("story", field(row, "story", str, where), True),)
    return whole(read_key(row, where), row, documents, where)

def read_key(row, where):
    return Question(text(row, "nr", where), "", field(row, "answer", str, where), (), (), "toy", question_type="yes-no")

LAYOUT = Layout("toy", ("story",), ("nr",), read, read_key, "hotpot", lambda question: "hard")
"""

SESSION = """
import json, sys
from pathlib import Path
from mbt_lite.errors import DataError
from mbt_lite.layouts import LAYOUTS
import toy
LAYOUTS["toy"] = toy.LAYOUT

from mbt_lite.data.questions import read_questions
from mbt_lite.recipe import json_schema, load_recipe
from mbt_lite.score import score_file

recipe = load_recipe(Path("toy.yaml"))
scored = score_file(Path("predictions.jsonl"), Path("keys.jsonl"), samples=5)
print(json.dumps({
    "by name": [question.question_id for question in read_questions(recipe.data.train, 0)],
    "by auto": [question.source for question in read_questions(recipe.data.dev, 0)],
    "f1": scored["metrics"]["f1"]["mean"],
    "tiers": list(scored["breakdown"]["tier"]),
    "schema": json_schema()["$defs"]["Questions"]["properties"]["layout"]["enum"],
}))
"""


def run(folder: Path, recipe: str) -> subprocess.CompletedProcess[str]:
    row = {"question": "Is it?", "answer": "no"}
    files = {
        "toy.py": TOY,
        "toy.yaml": recipe,
        "train.jsonl": json.dumps({**row, "nr": "a", "story": "It is."}),
        "dev.jsonl": json.dumps({**row, "nr": "b", "story": "It is not."}),
        "keys.jsonl": json.dumps({"nr": "b", "answer": "no"}),
        # half right by MuSiQue's rules, wrong by HotpotQA's
        "predictions.jsonl": json.dumps({"id": "b", "answer": "no it is"}),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    ours = {**os.environ, "PYTHONPATH": str(Path(mbt_lite.__path__[0]).parent)}
    return subprocess.run([sys.executable, "-c", SESSION], cwd=folder, env=ours, capture_output=True, text=True)


RECIPE = "model: {name: m}\ndata:\n  train: {path: train.jsonl, layout: toy}\n  dev: {path: dev.jsonl}\n"


def test_a_module_and_its_line_are_all_that_a_layout_costs(tmp_path: Path) -> None:
    done = run(tmp_path, RECIPE)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "by name": ["a"], "by auto": ["toy"], "f1": 0.0, "tiers": ["hard"], "schema": ["auto", *LAYOUTS, "toy"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "cure"),
    [("toyy", "did you mean toy?"), ("zzz", "write one of auto, mbt, musique, 2wiki, hotpot, plain, toy")],
)
def test_a_wrong_layout_is_told_with_the_choices_when_the_recipe_is_loaded(
    tmp_path: Path, name: str, cure: str
) -> None:
    done = run(tmp_path, RECIPE.replace("layout: toy", f"layout: {name}"))
    told = f'toy.yaml:3: `data.train.layout` has no such choice (got the text "{name}"); {cure}'
    assert done.stderr.splitlines()[-1].removeprefix("mbt_lite.errors.RecipeError: ") == told


def test_every_layout_has_its_own_name_and_marks() -> None:
    marks = {layout.name: (*layout.marks, *layout.key_marks) for layout in LAYOUTS.values()}
    assert len(set().union(*marks.values())) == sum(map(len, marks.values()))
    told = {
        name: {layout_named("auto", dict.fromkeys(mark.split(), 1), "f:1", is_key=True).name for mark in marks[name]}
        for name in marks
    }
    assert told == {name: {name} for name in LAYOUTS}


def test_a_mark_of_keys_does_not_tell_the_layout_of_whole_records() -> None:
    with pytest.raises(
        DataError,
        match=r"^f:1: no layout has these fields \(got question_id, text\); known by question_id and documents",
    ):
        layout_named("auto", {"question_id": "q", "text": "A trace."}, "f:1")
