"""The laptop recipe of CoMT in a tiny form: plans, sft on open and executed rows, grpo, eval."""

import io
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")

from mbt_lite.console import Screen
from mbt_lite.files import read_json, read_jsonl
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
        "model.name": student_folder, "data.train.limit": 8, "data.dev.limit": 4, "data.max_prompt_tokens": 900,
        "lora.rank": 4, "sft.max_sequence_tokens": 1200, "sft.held_out_traces": 2, "sft.evaluate_every_steps": 2,
        "grpo.steps": 1, "grpo.prompts_per_step": 2, "grpo.group_size": 3, "grpo.micro_batch_size": 3,
        "eval.max_completion_tokens": 64,
    }  # fmt: skip
    recipe = load_recipe(ROOT / "recipes/demo_comt.yaml", [f"{key}={value}" for key, value in settings.items()])
    said = io.StringIO()
    run_dir, console = RunDir.open(tmp_path, recipe.model_dump(mode="json"), frozenset()), Screen(file=said, width=120)
    assert "8 teacher requests (comt)" in gen.plan(recipe, run_dir)[0]
    for stage in (gen, sft, grpo, eval_stage):
        stage.run(recipe, run_dir, console)
    rows = read_jsonl(tmp_path / "gen/traces.jsonl")
    assert [row["row_rule"] for row in rows].count("open") == 8
    assert [row["kind"] for row in rows].count("comt_executed") == 4
    assert all("First write" in row["prompt"][0]["content"] for row in rows)
    done = read_json(tmp_path / "gen/done.json")["summary"]
    assert (done["traces"], done["executed"], done["not_executed"]) == (12, 4, {})
    assert "gen: 4 plans are carried out" in said.getvalue()
    trained = read_json(tmp_path / "sft/done.json")["summary"]
    assert trained["trained_rows"] + trained["dev_rows"] == 12
    [step] = [row for row in read_jsonl(tmp_path / "grpo/metrics.jsonl") if "loss" in row]
    assert any(key.startswith("ccrl/") for key in step)
    assert read_json(tmp_path / "eval/sft/metrics.json")["metrics"]["bridge_hit"]["n"] == 4
    for variant in ("sft", "grpo"):
        folder = tmp_path / "eval" / variant
        assert len(read_jsonl(folder / "answer_steps.jsonl")) == 4
        steps = read_json(folder / "metrics.json")["calibration"]["steps"]
        assert set(steps["metrics"]) >= {"ece", "auroc"}
    assert (tmp_path / "eval/report.html").is_file()
    # another share asks nobody
    console.print("again")
    other = recipe.model_copy(update={"gen": recipe.gen.model_copy(update={"executed_share": 1.0, "plan_rows": False})})
    gen.run(other, RunDir(tmp_path), console)
    assert {row["kind"] for row in read_jsonl(tmp_path / "gen/traces.jsonl")} == {"comt_executed"}
