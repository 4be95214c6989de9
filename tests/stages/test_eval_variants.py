"""Variants of any name through eval: their adapters and prompts, their places in files, table, report and plan."""

import collections
from pathlib import Path

import pytest
from eval_lab import Lab, metrics, write_adapter

from mbt_lite.errors import RunError
from mbt_lite.files import read_json, read_jsonl, write_json
from mbt_lite.recipe.schema import EvalStudent, StudentModels
from mbt_lite.recipe.variants import Variant
from mbt_lite.recipe.views import resolved
from mbt_lite.report.contents import read_report
from mbt_lite.run_dir import RunDir
from mbt_lite.stages import eval as stage


@pytest.fixture
def named(lab: Lab, tmp_path: Path) -> Lab:
    """The lab with four variants, two of them written out: one of another run, one that is told and trained."""
    write_adapter(RunDir(tmp_path / "other"), "sft")
    old = Variant(name="old", adapter=str(tmp_path / "other/sft/adapter"))
    lab.with_eval(variants=("base", old, "sft", Variant(name="told", adapter="sft", prompt="metacognitive")))
    # as `load_recipe` and the command line do
    lab.run_dir = RunDir.open(tmp_path / "named", resolved(lab.recipe), frozenset())
    write_adapter(lab.run_dir, "sft")
    return lab


def test_variants_stand_in_the_order_of_the_recipe_under_their_names(named: Lab) -> None:
    printed = named.run()
    # told and sft share one student, and each is asked in its own way
    assert named.loaded == ["base", "sft", "sft"]
    asked = collections.Counter(who for who, _ in named.generated)
    assert asked == {"base": 6, "sft": 12, "metacognitive": 6}
    header = next(line for line in printed.splitlines() if "base" in line and "told" in line)
    assert header.split() == ["base", "old", "sft", "told"]
    exact = [metrics(named, name)["metrics"]["exact_match"]["mean"] for name in ("base", "old", "sft", "told")]
    assert exact == [0, 1, 1, 0]
    assert list(metrics(named, "told")["paired"]) == ["base", "old", "sft"]
    assert {row["variant"] for row in read_jsonl(named.run_dir.path / "eval/told/predictions.jsonl")} == {"told"}
    report = read_report([named.run_dir.path])
    assert [series.variant for series in report.series] == ["base", "old", "sft", "told"]
    page = (named.run_dir.path / "eval/report.html").read_text()
    assert all(f">{name}<" in page for name in ("base", "old", "sft", "told"))


def test_an_adapter_of_another_run_is_an_input(named: Lab, tmp_path: Path) -> None:
    named.run()
    weights = tmp_path / "other/sft/adapter/adapter_model.safetensors"
    assert str(weights) in read_json(named.run_dir.path / "eval/done.json")["inputs"]
    weights.write_bytes(b"another")
    with pytest.raises(RunError, match=r"adapter_model.safetensors changed since eval finished"):
        named.run()


def test_an_adapter_of_another_run_that_is_gone_is_told_at_once(named: Lab, tmp_path: Path) -> None:
    weights = tmp_path / "other/sft/adapter/adapter_model.safetensors"
    weights.unlink()
    said = r"no adapter for variant old of eval; name the folder of one, or leave old out"
    with pytest.raises(RunError, match=said):
        stage.plan(named.recipe, named.run_dir)
    with pytest.raises(RunError, match=said):
        named.run()
    assert named.loaded == []


def test_a_run_of_words_goes_on_with_words_and_gains_no_key(lab: Lab, tmp_path: Path) -> None:
    lab.run()
    kept = resolved(lab.recipe)
    assert kept["eval"]["variants"] == ["base", "metacognitive", "sft"]
    write_json(lab.run_dir.path / "recipe.resolved.json", kept)
    lab.run_dir = RunDir.open(lab.run_dir.path, resolved(lab.recipe), frozenset())
    lab.loaded.clear()
    lab.run()
    assert lab.loaded == []


def test_plan_names_the_model_of_each_variant_at_an_endpoint(lab: Lab) -> None:
    student = EvalStudent(base_url="http://127.0.0.1:9/v1", models=StudentModels(base="plain", sft="tuned"))
    lab.with_eval(student=student, variants=("base", Variant(name="told", adapter="sft", prompt="metacognitive")))
    lines = stage.plan(lab.recipe, lab.run_dir)
    assert lines[1] == "eval: base: 6 completions to make, 0 there, by plain at http://127.0.0.1:9/v1"
    assert lines[2] == "eval: told: 6 completions to make, 0 there, by tuned at http://127.0.0.1:9/v1"
    assert lines[4].startswith("eval: told: about ")
