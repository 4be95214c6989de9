"""What others see of a recipe, and the recipes that ship."""

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from mbt_lite.errors import RunError
from mbt_lite.files import write_json, write_jsonl
from mbt_lite.recipe import RENAMED, json_schema, load_recipe, resolved, resumable_keys, written
from mbt_lite.recipe.faults import GONE
from mbt_lite.recipe.keys import choices, known_keys, section_of
from mbt_lite.recipe.schema import Recipe, TraceKind
from mbt_lite.run_dir import RECIPE_FILE, SECTIONS, STAGES, RunDir, flatten

ROOT = Path(__file__).parents[2]
RECIPES = sorted(ROOT.glob("recipes/**/*.yaml"))


def test_every_shipped_recipe_is_found() -> None:
    controls = ["direct_r", "distill_r", "grpo_only", "metacognitive", "self_distill", "teacher_distill"]
    runs = ["demo", "demo_comt", "demo_confidence", "demo_masa", "masa", "mbt_r", "mbt_s"]
    assert [path.stem for path in RECIPES] == ["comt_ccrl", "confidence", *controls, *runs]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_load_recipe_loads_every_shipped_recipe(path: Path) -> None:
    recipe = load_recipe(path)
    assert written(recipe)["model"]["name"] == recipe.model.name
    text = path.read_text(encoding="utf-8")
    # prompting alone needs no training, reward alone no traces, lines alone no reward
    command = {"metacognitive": "eval", "grpo_only": "grpo", "demo_confidence": "gen|sft|eval"}.get(path.stem, "run")
    place = path.relative_to(ROOT).as_posix()
    assert f"mbt-lite {command} {place}" in text, "the header tells how to run it"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_resolved_can_be_read_back_as_the_same_recipe(path: Path) -> None:
    recipe = load_recipe(path)
    assert Recipe.model_validate_json(json.dumps(resolved(recipe))) == recipe


def test_resolved_writes_several_endpoints_as_a_list_and_warns_of_nothing() -> None:
    urls = ["http://a/v1", "http://b/v1"]
    file = {"train": {"path": "a"}, "dev": {"path": "b"}}
    recipe = Recipe.model_validate({"model": {"name": "x"}, "data": file, "teacher": {"base_url": urls, "model": "m"}})
    assert resolved(recipe)["teacher"]["base_url"] == written(recipe)["teacher"]["base_url"] == urls
    assert Recipe.model_validate_json(json.dumps(resolved(recipe))) == recipe


def test_the_kinds_of_the_shipped_recipes_are_their_names() -> None:
    kinds = get_args(TraceKind)
    other_names = {"masa": "meta_expert", "comt_ccrl": "comt"}
    names = {other_names.get(path.stem, path.stem): path for path in RECIPES}
    named = {name: load_recipe(path).gen.kind for name, path in names.items() if name in kinds}
    assert named == {kind: kind for kind in kinds}


def test_the_controls_train_and_score_as_mbt_r_does() -> None:
    ours = resolved(load_recipe(ROOT / "recipes/mbt_r.yaml"))
    for path in (ROOT / "recipes/controls").glob("*.yaml"):
        theirs = resolved(load_recipe(path))
        same = {"metacognitive": {"model", "data"}, "grpo_only": {"model", "data", "lora"}}.get(
            path.stem, {"model", "data", "lora", "sft", "grpo", "eval"}
        )
        assert {key: theirs[key] for key in same} == {key: ours[key] for key in same}, path.stem
    alone = resolved(load_recipe(ROOT / "recipes/controls/grpo_only.yaml"))["grpo"]
    assert alone == {**ours["grpo"], "start": "base"}


def test_written_gives_only_what_differs_from_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("model: {name: tiny}\ndata: {train: {path: a}, dev: {path: b}}\nlora: {rank: 32, alpha: 8}\n")
    assert written(load_recipe(path)) == {
        "model": {"name": "tiny"},
        "data": {"train": {"path": "a"}, "dev": {"path": "b"}},
        "lora": {"alpha": 8},
    }


def test_resumable_keys_are_keys_and_change_speed_only() -> None:
    keys = resumable_keys()
    went = {f"{key}.{name}" for key, gone in GONE.items() if isinstance(gone.idle, dict) for name in gone.idle}
    assert keys - went - GONE.keys() < {".".join(path) for path in known_keys()}
    assert {"eval.aes.alpha", "gen.student.budget_usd", "eval.bootstrap_samples"} < keys
    assert "sft.weight_decay" not in keys
    assert {"model.backend", "teacher.concurrency", "sft.save_every_steps", "grpo.rollout_batch_size"} < keys
    assert {"sft.save_every_minutes", "grpo.save_every_minutes", "tracking.tracker"} < keys
    assert not keys & {"sft.held_out_traces", "sft.evaluate_every_steps", "sft.patience"}
    assert not keys & {"model.name", "sft.learning_rate", "grpo.group_size", "gen.seed", "eval.temperature"}
    assert not keys & {"eval.top_p", "eval.top_k"}


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_run_from_before_keys_went_goes_on_where_they_changed_nothing_it_made(
    tmp_path: Path, weight_decay: float
) -> None:
    new = resolved(load_recipe(ROOT / "recipes/demo.yaml"))
    old = json.loads(json.dumps(new))
    old["sft"]["weight_decay"] = weight_decay
    old["judge"]["seed"] = 3
    old["eval"] |= {"bootstrap_samples": 100, "aes": {"base": "sft", "alpha": 2.0, "beta": 3.0, "gamma": 5.0}}
    for section in (old["gen"]["student"], old["eval"]["student"]):
        section |= {"budget_usd": 5.0, "price_per_million_prompt_tokens": 1.0}
    write_json(tmp_path / RECIPE_FILE, old)
    for stage in STAGES:
        write_jsonl(tmp_path / stage / "rows.jsonl", [{"id": 1}])
    if weight_decay:
        with pytest.raises(RunError, match=r"^\S+: `sft.weight_decay` changed since sft began \(0.1 -> None\); .*$"):
            RunDir.open(tmp_path, new, resumable_keys(), RENAMED)
    else:
        RunDir.open(tmp_path, new, resumable_keys(), RENAMED)


def test_resumable_keys_never_change_the_rows_of_an_optimizer_step() -> None:
    # sft: micro_batch_size x gradient_accumulation_steps; grpo: prompts_per_step x group_size, however it is cut
    assert "sft.micro_batch_size" not in resumable_keys()
    assert "grpo.micro_batch_size" in resumable_keys()


def test_known_keys_are_those_of_a_resolved_recipe() -> None:
    leaves = {".".join(path) for path, field in known_keys().items() if section_of(field) is None}
    assert leaves == flatten(resolved(load_recipe(RECIPES[0]))).keys()


def test_every_section_belongs_to_a_stage() -> None:
    assert set(Recipe.model_fields) == {section for sections in SECTIONS.values() for section in sections}


def test_every_required_value_is_text_so_that_a_stand_in_fits() -> None:
    required = [field for field in known_keys().values() if field.is_required() and section_of(field) is None]
    assert {field.annotation for field in required} == {str}


def test_choices_gives_the_words_of_lists_and_refuses_other_fields() -> None:
    fields = known_keys()
    assert choices(fields["eval", "variants"]) == ["base", "metacognitive", "sft", "grpo"]
    with pytest.raises(AssertionError, match="no enumeration"):
        choices(fields["lora", "rank"])


def test_json_schema_helps_with_every_key_and_refuses_unknown_ones() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for section in [schema, *schema["$defs"].values()]:
        assert section["additionalProperties"] is False
        for name, key in section["properties"].items():
            # pydantic leaves a key's text out where it is that of the section it holds.
            held = schema["$defs"][key["$ref"].rpartition("/")[2]] if "$ref" in key else key
            assert key.get("description", held.get("description")), (section["title"], name)
    assert "Rank of the update." in json.dumps(schema["$defs"]["Lora"])
    sections = [section for field in known_keys().values() if (section := section_of(field)) is not None]
    assert all(issubclass(section, BaseModel) for section in sections)


def test_importing_recipes_imports_pydantic_and_yaml_and_nothing_heavier() -> None:
    code = "import mbt_lite.recipe, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"pydantic", "yaml"} < set(loaded)
    assert not {"typer", "rich", "openai", "torch", "numpy", "datasets", "transformers", "httpx"} & set(loaded)
