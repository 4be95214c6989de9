"""Variants of eval: short words, sections that say all of it, and one line for every mistake, at loading."""

from pathlib import Path
from typing import get_args

import pytest
from recipe_texts import MINIMAL, Problems
from test_recipe_load import load

from mbt_lite.files import write_json
from mbt_lite.recipe.keys import choices, field_at
from mbt_lite.recipe.schema import Eval, Recipe
from mbt_lite.recipe.variants import WORDS, Variant, VariantWord
from mbt_lite.recipe.views import resolved
from mbt_lite.run_dir import RunDir

WRITTEN = MINIMAL + "eval:\n  variants: [base, %s]\n"


def test_every_word_stands_for_a_variant_of_its_name() -> None:
    assert tuple(WORDS) == get_args(VariantWord)
    assert all(variant.name == word for word, variant in WORDS.items())
    assert (WORDS["metacognitive"].prompt, WORDS["grpo"].adapter) == ("metacognitive", "grpo")


def test_a_variant_is_written_out_beside_words(tmp_path: Path) -> None:
    text = WRITTEN % "sft, {name: old, adapter: runs/x/sft/adapter}, {name: told, adapter: sft, prompt: metacognitive}"
    variants = load(tmp_path, text).eval.full_variants
    assert [variant.name for variant in variants] == ["base", "sft", "old", "told"]
    run = Path("runs/mine")
    assert [str(variant.adapter_folder(run)) for variant in variants] == [
        "None", "runs/mine/sft/adapter", "runs/x/sft/adapter", "runs/mine/sft/adapter",
    ]  # fmt: skip
    assert [variant.is_metacognitive for variant in variants] == [False, False, False, True]


def test_a_variant_is_written_out_on_the_command_line(tmp_path: Path) -> None:
    recipe = load(tmp_path, MINIMAL, "eval.variants=[base, {name: told, prompt: metacognitive}]")
    assert recipe.eval.full_variants[1] == Variant(name="told", prompt="metacognitive")


def test_a_word_that_is_written_out_is_the_word_again(tmp_path: Path) -> None:
    recipe = load(tmp_path, WRITTEN % "{name: sft, adapter: sft, prompt: student, strategy: single}")
    assert recipe.eval.variants == ("base", "sft")
    assert resolved(recipe)["eval"]["variants"] == ["base", "sft"]


def test_a_resolved_recipe_reads_back(tmp_path: Path) -> None:
    recipe = load(tmp_path, WRITTEN % "{name: old, adapter: a/b}")
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_a_run_folder_of_words_goes_on_and_one_of_another_variant_does_not(tmp_path: Path) -> None:
    recipe = load(tmp_path, WRITTEN % "{name: old, adapter: a/b}")
    write_json(tmp_path / "run/recipe.resolved.json", resolved(recipe))
    (tmp_path / "run/eval").mkdir()
    (tmp_path / "run/eval/questions.jsonl").write_text("{}\n")
    RunDir.check(tmp_path / "run", resolved(recipe), frozenset())
    other = load(tmp_path, WRITTEN % "{name: old, adapter: a/c}")
    with pytest.raises(Exception, match=r"`eval.variants` changed since eval began"):
        RunDir.check(tmp_path / "run", resolved(other), frozenset())


MISTAKES = {
    "{name: a b}": '`eval.variants[1].name` is not of its form (got the text "a b"); write its name in tables',
    "{name: ../x}": '`eval.variants[1].name` is not of its form (got the text "../x"); write its name in tables',
    "{adapter: sft}": "missing key `eval.variants[1].name`; add it: Its name in tables and plots",
    "{name: x, adaptor: sft}": "unknown key `eval.variants[1].adaptor`; did you mean `adapter`?",
    "{name: x, temperature: 1}": "unknown key `eval.variants[1].temperature`; it belongs in `",
    "{name: x, adapter: sftt}": "`eval.variants`: x has no such adapter (got sftt); did you mean sft?",
    "{name: x, adapter: mine}": "`eval.variants`: x has no such adapter (got mine); write none, sft, grpo or a folder",
    "{name: x, adapter: 3}": "`eval.variants[1].adapter` is not text (got 3); put it in quotes",
    "{name: x, prompt: metacognitiv}": "`eval.variants[1].prompt` has no such choice (got the text \"metacognitiv\"); "
    "did you mean metacognitive?",
    "{name: x, strategy: singel}": "`eval.variants[1].strategy` has no such choice (got the text \"singel\"); "
    "did you mean single?",
    "{name: x}, {name: X}": "`eval.variants` has one name twice (got [base, x, X]); each has a folder of its name",
    "{name: sft, adapter: grpo}": "`eval.variants` gives the name sft to another variant; take a name of its own",
    "{name: report-plots}": "`eval.variants` has the name of a folder of the report (got report-plots); take another",
    "sftt": '`eval.variants[1]` has no such choice (got the text "sftt"); did you mean sft?',
    "[sft]": "`eval.variants[1]` has no such choice (got a list); did you mean sft?",
}  # fmt: skip


@pytest.mark.parametrize("written", MISTAKES)
def test_every_mistake_is_one_line(written: str, problems: Problems) -> None:
    [line] = problems(WRITTEN % written)
    assert line.startswith("a.yaml:5: " + MISTAKES[written]), line


def test_two_mistakes_in_one_variant_are_two_lines_beside_the_others(problems: Problems) -> None:
    lines = problems(WRITTEN % "{name: x, strategy: s, prompt: p}" + "grpo:\n  clip_low: 1\n")
    assert [line.partition(" (")[0] for line in lines] == [
        "a.yaml:5: `eval.variants[1].prompt` has no such choice",
        "a.yaml:5: `eval.variants[1].strategy` has no such choice",
        "a.yaml:7: `grpo.clip_low` is out of range",
    ]


def test_an_adapters_folder_has_no_name_at_an_endpoint(problems: Problems) -> None:
    served = "  student: {base_url: 'http://a/v1', models: {base: m}}\n"
    [line] = problems(WRITTEN % "{name: old, adapter: a/b}" + served)
    assert "old has an adapter's folder (got a/b), which no key of `eval.student.models` names; write adapter" in line
    assert problems(WRITTEN % "{name: told, prompt: metacognitive}" + served) == []


def test_keys_of_a_variant_have_their_texts_and_choices() -> None:
    assert choices(field_at(("eval", "variants", 0, "strategy"))) == ["single"]
    assert all(field.description for field in Variant.model_fields.values())
    assert Eval().full_variants == tuple(WORDS.values())
