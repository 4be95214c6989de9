"""The laptop recipe of confidence in a tiny form: drafts that agree or not, sft on the lines, eval."""

import io
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")

from test_gen_confidence import Student

from mbt_lite.console import Screen
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.generation import local
from mbt_lite.recipe import load_recipe
from mbt_lite.run_dir import RunDir
from mbt_lite.stages import eval as eval_stage
from mbt_lite.stages import gen, sft
from mbt_lite.student.libraries import prepare

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_laptop_recipe_runs_whole(student_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare()
    monkeypatch.chdir(ROOT)
    settings = {
        "model.name": student_folder, "data.train.limit": 32, "data.dev.limit": 4, "data.max_prompt_tokens": 900,
        "lora.rank": 4, "lora.continue_from": "null", "gen.student_adapter": "null",
        "gen.replay": "null", "gen.rollouts_per_question": 5,
        "sft.max_sequence_tokens": 1100, "sft.epochs": 1, "eval.max_completion_tokens": 32,
        "eval.without_evidence": "true",
    }  # fmt: skip
    recipe = load_recipe(ROOT / "recipes/demo_confidence.yaml", [f"{key}={value}" for key, value in settings.items()])
    run_dir = RunDir.open(tmp_path, recipe.model_dump(mode="json"), frozenset())
    console = Screen(file=io.StringIO(), width=120)
    with monkeypatch.context() as patch:
        # random weights answer nothing: someone else drafts what sft then learns
        patch.setattr(local, "open_student", lambda model, adapter: Student())
        gen.run(recipe, run_dir, console)
    rows = read_jsonl(tmp_path / "gen/traces.jsonl")
    assert {(row["kind"], row["row_rule"]) for row in rows} == {("confidence", "line")}
    sft.run(recipe, run_dir, console)
    figures = [row for row in read_jsonl(tmp_path / "sft/metrics.jsonl") if "loss" in row]
    # random weights know nothing of the lines at first
    assert figures[-1]["loss"] < figures[0]["loss"]
    eval_stage.run(recipe, run_dir, console)
    folder = tmp_path / "eval/sft"
    card = read_json(folder / "metrics.json")
    assert list(card["calibration"]) == ["stated", "answer_probability"]
    # random weights answer nothing: all are missing, and none is a zero
    assert card["calibration"]["answer_probability"]["missing"] == 4
    assert (
        len(read_jsonl(folder / "answer_probabilities.jsonl"))
        == len(read_jsonl(folder / "without_evidence.jsonl"))
        == 4
    )
    assert card["without_evidence"]["metrics"]["unknown_without"]["n"] == 4
