"""The laptop recipe of MASA in a tiny form: expert rows, sft, steps in one pass and with forecasts first, eval."""

import io
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")

from gen_lab import demo_questions
from test_gen_meta_expert import Student

from mbt_lite.console import Screen
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.generation import local
from mbt_lite.recipe import load_recipe
from mbt_lite.run_dir import RunDir
from mbt_lite.stages import eval as eval_stage
from mbt_lite.stages import gen, grpo, sft
from mbt_lite.student.libraries import prepare

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_laptop_recipe_runs_whole(student_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare()
    monkeypatch.chdir(ROOT)
    settings = {
        "model.name": student_folder, "data.train.limit": 6, "data.dev.limit": 4, "data.max_prompt_tokens": 900,
        "lora.rank": 4, "lora.continue_from": "null", "gen.student_adapter": "null", "gen.replay": "null",
        "sft.max_sequence_tokens": 1100, "sft.epochs": 1, "grpo.steps": 3, "grpo.prompts_per_step": 2,
        "grpo.masa.sequential_after": 2, "grpo.save_every_steps": 2, "grpo.max_completion_tokens": 300,
        "eval.samples_per_question": 2, "eval.max_completion_tokens": 64,
    }  # fmt: skip
    recipe = load_recipe(ROOT / "recipes/demo_masa.yaml", [f"{key}={value}" for key, value in settings.items()])
    said = io.StringIO()
    run_dir, console = RunDir.open(tmp_path, recipe.model_dump(mode="json"), frozenset()), Screen(file=said, width=120)
    with monkeypatch.context() as patch:
        # random weights solve nothing: someone else drafts what sft then learns
        patch.setattr(local, "open_student", lambda model, adapter: Student())
        gen.run(recipe, run_dir, console)
    rows = read_jsonl(tmp_path / "gen/traces.jsonl")
    assert {row["kind"] for row in rows} == {"meta_expert"}
    assert {row["question_id"] for row in rows} <= {one.question_id for one in demo_questions()}
    for stage in (sft, grpo, eval_stage):
        stage.run(recipe, run_dir, console)
    figures = [row for row in read_jsonl(tmp_path / "grpo/metrics.jsonl") if "loss" in row]
    assert [row["step"] for row in figures] == [1, 2, 3]
    assert all(row["masa/meta_tokens"] > 0 and "masa/constant_total" in row for row in figures)
    assert all("extra/total" in row for row in figures)
    for variant in ("sft", "grpo"):
        card = read_json(tmp_path / "eval" / variant / "metrics.json")["foresight"]
        assert card["metrics"]["total"]["n"] == card["metrics"]["constant_total"]["n"] == 4
    assert "Forecasts, grpo" in (tmp_path / "eval/report.html").read_text()
    assert "best constant" in said.getvalue()
