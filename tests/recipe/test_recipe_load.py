"""What a sound recipe and its overrides mean."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from recipe_texts import MINIMAL, Problems

from mbt_lite.errors import RecipeError
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.schema import Recipe
from mbt_lite.recipe.tree import dotted, read_scalar

SCALARS = {
    "1e-4": 1e-4,
    "1E3": 1000.0,
    "1.": 1.0,
    ".5": 0.5,
    "-0.5e+2": -50.0,
    "12": 12,
    "+3": 3,
    "-0": 0,
    "true": True,
    "FALSE": False,
    "": None,
    "null": None,
    "yes": "yes",
    "no": "no",
    "on": "on",
    "off": "off",
    "y": "y",
    "0o17": "0o17",
    "017": "017",
    "0x1f": "0x1f",
    "1_000": "1_000",
    "1:30": "1:30",
    "2026-01-01": "2026-01-01",
    ".inf": ".inf",
    ".nan": ".nan",
    "1e999": "1e999",
    "١٢": "١٢",
    "e5": "e5",
    ".": ".",
}


@pytest.mark.parametrize("text", SCALARS)
def test_read_scalar_follows_yaml_1_2(text: str) -> None:
    value = read_scalar(text)
    assert value == SCALARS[text]
    assert type(value) is type(SCALARS[text])


@given(st.integers(min_value=-(10**17), max_value=10**17))
def test_read_scalar_reads_back_every_integer(number: int) -> None:
    assert read_scalar(str(number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(1e-300)
def test_read_scalar_reads_back_every_float(number: float) -> None:
    value = read_scalar(repr(number))
    assert isinstance(value, float)
    assert value == number


@given(st.text())
def test_read_scalar_never_fails_and_gives_finite_numbers(text: str) -> None:
    value = read_scalar(text)
    assert not isinstance(value, float) or math.isfinite(value)
    assert not isinstance(value, str) or value == text


def test_dotted_writes_items_in_brackets() -> None:
    assert dotted(("eval", "variants", 1)) == "eval.variants[1]"
    assert dotted(()) == ""


def load(tmp_path: Path, text: str, *overrides: str) -> Recipe:
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, overrides)


def test_load_recipe_fills_in_defaults(tmp_path: Path) -> None:
    recipe = load(tmp_path, MINIMAL + "sft: {learning_rate: 1e-3, epochs: 2}\neval:\n  variants: [base, sft]\n")
    assert recipe.model.name == "tiny"
    assert recipe.sft.learning_rate == 0.001
    assert recipe.sft.epochs == 2.0
    assert recipe.eval.variants == ("base", "sft")
    assert recipe.lora == Recipe.model_fields["lora"].default


def test_load_recipe_keeps_words_that_yaml_1_1_turns(tmp_path: Path) -> None:
    text = MINIMAL.replace("tiny", "no").replace("train.jsonl", "2026-01-01")
    recipe = load(tmp_path, text)
    assert (recipe.model.name, recipe.data.train.path) == ("no", "2026-01-01")


def test_load_recipe_accepts_an_explicit_null_where_none_is_meant(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL + "teacher: {api_key_env: ~}\n").teacher.api_key_env is None


def test_load_recipe_accepts_a_document_mark_a_bom_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(("\ufeff---\n" + MINIMAL).replace("\n", "\r\n").encode())
    assert load_recipe(path).model.name == "tiny"


OVERRIDES: dict[str, tuple[str, Callable[[Recipe], bool]]] = {
    "number": ("lora.rank=4", lambda recipe: recipe.lora.rank == 4),
    "exponent": ("sft.learning_rate=1e-4", lambda recipe: recipe.sft.learning_rate == 1e-4),
    "boolean": ("sft.gradient_checkpointing=false", lambda recipe: recipe.sft.gradient_checkpointing is False),
    "list": ("eval.variants=[base, sft]", lambda recipe: recipe.eval.variants == ("base", "sft")),
    "null": ("data.train.limit=null", lambda recipe: recipe.data.train.limit is None),
    "nothing": ("data.train.limit=", lambda recipe: recipe.data.train.limit is None),
    "deep": ("grpo.reward.weights.keep=0.5", lambda recipe: recipe.grpo.reward.weights.keep == 0.5),
    "text with marks of YAML": ("model.name=a: b # c", lambda recipe: recipe.model.name == "a: b # c"),
    "equals in the value": ("data.train.path=a=b", lambda recipe: recipe.data.train.path == "a=b"),
    "quoted": ('model.name="4"', lambda recipe: recipe.model.name == "4"),
    "spaces around": ("lora.rank = 4 ", lambda recipe: recipe.lora.rank == 4),
}


@pytest.mark.parametrize("case", OVERRIDES)
def test_load_recipe_applies_an_override(case: str, tmp_path: Path) -> None:
    setting, holds = OVERRIDES[case]
    assert holds(load(tmp_path, MINIMAL, setting))


def test_load_recipe_lets_an_override_win_over_the_file_and_mend_it(tmp_path: Path) -> None:
    recipe = load(tmp_path, MINIMAL + "lora: {rank: four, alpha: 8}\n", "lora.rank=4")
    assert (recipe.lora.rank, recipe.lora.alpha) == (4, 8)


BAD_OVERRIDES = {
    "unknown key": ("lora.rnak=4", "--set lora.rnak=4: unknown key `lora.rnak`; did you mean `rank`?"),
    "unknown section": ("lroa.rank=4", "--set lroa.rank=4: unknown key `lroa`; did you mean `lora`?"),
    "wrong type": (
        "lora.rank=four",
        '--set lora.rank=four: `lora.rank` is not a whole number (got the text "four"); '
        "write a whole number such as 32",
    ),
    "yes": (
        "sft.gradient_checkpointing=yes",
        "--set sft.gradient_checkpointing=yes: `sft.gradient_checkpointing` is neither true nor false "
        '(got the text "yes"); write true or false',
    ),
    "bad item": (
        "eval.variants=[base, sftt]",
        "--set eval.variants=[base, sftt]: `eval.variants[1]` has no such choice "
        '(got the text "sftt"); did you mean sft?',
    ),
    "value for a section": (
        "lora=4",
        "--set lora=4: `lora` is a section (got 4); give it keys of its own, or leave it out",
    ),
    "section": (
        "lora={rank: 4}",
        "--set lora={rank: 4}: a setting gives one key its value, not a section; use one --set a key",
    ),
    "no equals sign": ("lora.rank", "--set lora.rank: not a setting; write --set section.key=value"),
    "no key": ("=4", "--set =4: not a setting; write --set section.key=value"),
    "empty part": ("lora..rank=4", "--set lora..rank=4: not a setting; write --set section.key=value"),
    "open list": (
        "eval.variants=[base",
        "--set eval.variants=[base: not valid YAML (expected ',' or ']', but got '<stream end>'); "
        "check indentation, quotes and brackets",
    ),
    "relation": (
        "grpo.clip_low=1",
        "--set grpo.clip_low=1: `grpo.clip_low` is out of range (got 1); "
        "it must be below 1: 1 - clip_low bounds a ratio",
    ),
}


@pytest.mark.parametrize("case", BAD_OVERRIDES)
def test_load_recipe_refuses_an_override(case: str, problems: Problems) -> None:
    setting, expected = BAD_OVERRIDES[case]
    assert problems(MINIMAL, [setting]) == [expected]


def test_load_recipe_refuses_a_key_set_twice(problems: Problems) -> None:
    assert problems(MINIMAL, ["lora.rank=4", "lora.rank=8"]) == [
        "--set lora.rank=8: `lora.rank` is set twice; keep one"
    ]


def test_load_recipe_reports_overrides_after_the_file(problems: Problems) -> None:
    assert [
        line.partition(": ")[0] for line in problems(MINIMAL + "lora:\n  rnak: 8\n", ["sft.b=1", "a.b=1", "sft.a=1"])
    ] == ["a.yaml:5", "--set sft.b=1", "--set a.b=1", "--set sft.a=1"]


def test_load_recipe_names_the_override_whose_section_lacks_a_key(problems: Problems) -> None:
    text = "model: {name: tiny}\ndata: {train: {path: a}}\n"
    [problem] = problems(text, ["data.dev.limit=4"])
    assert problem.startswith("--set data.dev.limit=4: missing key `data.dev.path`; add it: ")


def test_load_recipe_leaves_an_override_below_a_wrong_section_to_the_section(problems: Problems) -> None:
    assert problems(MINIMAL + "lora: 4\n", ["lora.rank=4"]) == [
        "a.yaml:4: `lora` is a section (got 4); give it keys of its own, or leave it out"
    ]


def test_load_recipe_reads_what_an_older_run_kept_of_its_recipe(tmp_path: Path) -> None:
    # every key stood there, those that have other names now too
    path = tmp_path / "recipe.resolved.json"
    kept = {
        "model": {"name": "tiny"},
        "data": {"train": {"path": "a.jsonl"}, "dev": {"path": "b.jsonl"}},
        "gen": {"student_base_url": None, "student_model": None, "student_api_key_env": None, "seed": 3},
        "eval": {"student_base_url": None, "student_models": {"base": None, "sft": None, "grpo": None}},
    }
    path.write_text(json.dumps(kept))
    assert load_recipe(path).gen.seed == 3
    kept["gen"]["student"] = {"budget_usd": None, "price_per_million_prompt_tokens": None}
    kept["sft"] = {"weight_decay": 0.0}
    kept["judge"] = {"seed": 0}
    kept["grpo"] = {"reward": {"weights": {"phases": 0.0}}}
    kept["eval"] |= {"bootstrap_samples": 2000, "aes": {"base": "base", "alpha": 1.0, "beta": 3.0, "gamma": 5.0}}
    path.write_text(json.dumps(kept))
    assert load_recipe(path).gen.seed == 3
    kept["gen"]["student_model"] = "tiny"
    path.write_text(json.dumps(kept))
    with pytest.raises(RecipeError, match=r"unknown key `gen.student_model`; it is `gen.student.model` now"):
        load_recipe(path)
