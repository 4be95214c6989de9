"""Plans of the shipped recipes: time, imports, lengths from data, fit, and what is said when something is missing."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mbt_lite import cli
from mbt_lite.architecture.families import KNOWN
from mbt_lite.errors import ModelError
from mbt_lite.plan.command import fit_lines
from mbt_lite.plan.fit import fitting, with_settings
from mbt_lite.plan.make_plan import Plan, make_plan, plan_with
from mbt_lite.plan.stages import Lengths
from mbt_lite.plan.student_files import read_architecture, read_token_counter
from mbt_lite.plan.table import CAUSES, closing, heading
from mbt_lite.plan.target import GIB, Target, choose_target, make_setup
from mbt_lite.plan.workload import Counted, Workload, read_workload
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.schema import Recipe

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes name their data relative to the checkout; the hub is never asked."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def card(gib: float) -> Target:
    return Target("cuda", int(gib * GIB), "a card")


def plan_on(recipe: Recipe, target: Target, lengths: Lengths | None = None) -> Plan:
    longest = lengths or Lengths(recipe.data.max_prompt_tokens, recipe.sft.max_sequence_tokens)
    setup = make_setup(recipe, read_architecture(recipe.model.name), target)
    return plan_with(recipe, setup, target, Workload((), longest, 2000, 200, None, ()))


def test_plan_imports_no_torch() -> None:
    code = (
        "import sys; from mbt_lite.cli import app; app(['plan', 'recipes/demo.yaml', '--vram', '24', '--fit'],"
        " standalone_mode=False); assert 'torch' not in sys.modules; assert 'datasets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_has_a_plan(path: Path, tmp_path: Path) -> None:
    plan = make_plan(load_recipe(path), card(24), tmp_path)
    assert {"sft", "grpo", "eval"} <= set(plan.stages)
    assert plan.peak[1].bytes == max(one.bytes for phases in plan.stages.values() for one in phases)


@pytest.mark.parametrize("gib", [24, 16, 12, 8])
@pytest.mark.parametrize("name", ["mbt_r", "mbt_s"])
def test_fit_proposes_what_fits(name: str, gib: int) -> None:
    recipe = load_recipe(ROOT / f"recipes/{name}.yaml")
    change = fitting(recipe, lambda changed: plan_on(changed, card(gib)))
    assert change is not None
    assert plan_on(with_settings(recipe, change), card(gib)).margin >= 0


def test_a_plan_leaves_some_of_a_card_alone_and_all_of_a_processor_is_there() -> None:
    assert (card(24).usable, Target("cpu", 8 * GIB, "here").usable) == (int(23.3 * GIB) + 1, 8 * GIB)
    plan = plan_on(load_recipe(ROOT / "recipes/mbt_r.yaml"), card(24))
    assert plan.margin == card(24).usable - plan.peak[1].bytes
    assert "0.7 GiB of the card left alone" in next(closing(plan))


def test_a_plan_of_unsloth_says_that_it_knows_nothing_of_its_sharing() -> None:
    said = ["unsloth shares prompts" in " ".join(heading(plan_on(load_recipe(ROOT / "recipes/mbt_r.yaml", [
        f"model.backend={backend}"]), card(24)))) for backend in ("unsloth", "transformers")]  # fmt: skip
    assert said == [True, False]


def test_fit_says_overrides_that_the_recipe_takes() -> None:
    recipe = load_recipe(ROOT / "recipes/mbt_r.yaml")
    change = fitting(recipe, lambda changed: plan_on(changed, card(10)))
    assert change
    (line,) = fit_lines(change)
    overrides = line.removeprefix("fit: --set ").split(" --set ")
    assert load_recipe(ROOT / "recipes/mbt_r.yaml", overrides) == with_settings(recipe, change)


def test_fit_leaves_a_recipe_that_fits_as_it_is() -> None:
    assert fitting(load_recipe(ROOT / "recipes/demo.yaml"), lambda changed: plan_on(changed, card(24))) == {}


def test_fit_changes_what_is_free_before_what_is_traded() -> None:
    recipe = load_recipe(ROOT / "recipes/mbt_r.yaml")
    change = fitting(recipe, lambda changed: plan_on(changed, card(16)))
    assert change is not None
    assert set(change) <= {"gen.batch_size", "grpo.rollout_batch_size", "eval.batch_size"}


@pytest.mark.parametrize("odd", ["sft.micro_batch_size=15", "grpo.micro_batch_size=25"])
def test_fit_divides_a_micro_batch_that_is_no_power_of_two(odd: str) -> None:
    settings = ["sft.max_sequence_tokens=4096", "grpo.group_size=5", "grpo.max_completion_tokens=1024", odd]
    if not odd.startswith("grpo"):
        settings.append("grpo.micro_batch_size=5")
    recipe = load_recipe(ROOT / "recipes/demo_masa.yaml", settings)
    change = fitting(recipe, lambda changed: plan_on(changed, card(1.9)))
    assert change is not None
    key = odd.partition("=")[0]
    assert change[key] in (1, 5)
    rows = recipe.sft.micro_batch_size * recipe.sft.gradient_accumulation_steps
    changed = with_settings(recipe, change).sft
    assert changed.micro_batch_size * changed.gradient_accumulation_steps == rows


def test_a_step_with_forecasts_rolls_out_twice_the_rows() -> None:
    recipe = load_recipe(ROOT / "recipes/demo_masa.yaml")
    once = with_settings(recipe, {"grpo.method": "law"})
    cache = [plan_on(one, card(24)).stages["grpo"][1].causes["KV cache"] for one in (once, recipe)]
    twice = plan_on(with_settings(once, {"grpo.prompts_per_step": 10}), card(24)).stages["grpo"][1].causes["KV cache"]
    assert cache[1] == twice > cache[0]
    scored = with_settings(once, {"grpo.dev_questions": 16})
    assert plan_on(scored, card(24)).stages["grpo"][1].causes["KV cache"] > twice


def test_fit_gives_up_on_a_student_that_is_too_large() -> None:
    recipe = load_recipe(ROOT / "recipes/mbt_r.yaml", ["model.name=random:qwen3-14b"])
    assert fitting(recipe, lambda changed: plan_on(changed, card(4))) is None
    assert next(fit_lines(None)).startswith("fit: no setting of this student fits")


def test_lengths_come_from_the_data_where_all_of_it_is_counted(tmp_path: Path) -> None:
    recipe = load_recipe(ROOT / "recipes/demo.yaml")
    if read_token_counter(recipe.model.name) is None:
        pytest.skip("needs the embedded student in the cache: any run of the demo makes it")
    from mbt_lite.data.questions import read_questions
    from mbt_lite.prompts import student_messages
    from mbt_lite.student.chat_template import count_prompt_tokens
    from mbt_lite.student.loading import load_tokenizer

    workload = read_workload(recipe, tmp_path)
    tokenizer = load_tokenizer(recipe.model)
    train = read_questions(recipe.data.train, recipe.data.seed)
    assert workload.counted[0].tokens == tuple(count_prompt_tokens(tokenizer, student_messages(q)) for q in train)
    assert workload.lengths.prompt == max(max(counted.tokens) for counted in workload.counted)
    assert workload.n_questions == len(train)


@pytest.mark.parametrize("foresight", ["true", "false"])
@pytest.mark.parametrize("variants", ["[sft]", "[metacognitive, sft]"])
def test_eval_is_planned_for_its_own_prompts(tmp_path: Path, variants: str, foresight: str) -> None:
    """A system prompt of 150 tokens was planned as none."""
    settings = [f"eval.variants={variants}", f"eval.foresight={foresight}"]
    # nothing is trimmed
    settings += ["data.max_prompt_tokens=500", "sft.max_sequence_tokens=900"]
    recipe = load_recipe(ROOT / "recipes/demo.yaml", settings)
    if read_token_counter(recipe.model.name) is None:
        pytest.skip("needs the embedded student in the cache: any run of the demo makes it")
    pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    from mbt_lite import prompts
    from mbt_lite.stages.exam import set_exam

    exam, metacognitive = set_exam(recipe), "metacognitive" in variants
    asked = [prompts.student_messages, *([prompts.meta_messages] if foresight == "true" else [])]
    longest = max(exam.counts.prompt(ask(q, metacognitive=metacognitive)) for ask in asked for q in exam.questions)
    assert read_workload(recipe, tmp_path).lengths.in_eval == longest


def test_without_a_tokenizer_the_limits_are_planned_and_counts_are_estimates(tmp_path: Path) -> None:
    recipe = load_recipe(ROOT / "recipes/demo.yaml", ["model.name=Qwen/Qwen3-4B"])
    workload = read_workload(recipe, tmp_path)
    assert all(counted.is_estimate for counted in workload.counted)
    prompt, row = recipe.data.max_prompt_tokens, recipe.sft.max_sequence_tokens
    assert workload.lengths == Lengths(prompt, row, prompt)
    assert workload.notes == ("Qwen/Qwen3-4B: no tokenizer on this disk, so tokens are estimated by characters",)


def test_rows_of_gen_are_counted(tmp_path: Path) -> None:
    rows = [{"prompt": [{"role": "user", "content": "x" * 40}], "completion": [{"role": "assistant", "content": "y"}]}]
    (tmp_path / "gen").mkdir()
    (tmp_path / "gen" / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    workload = read_workload(load_recipe(ROOT / "recipes/demo.yaml"), tmp_path)
    assert workload.counted[-1].what == "sft rows"
    assert workload.n_dev_questions == 72
    # a turn of one letter is a few tokens with its marks
    assert workload.completion_tokens is not None
    assert 1 <= workload.completion_tokens < 10


def test_quantile_by_hand() -> None:
    counted = Counted("x", tuple(range(1, 101)), 100, is_estimate=False)
    assert (counted.quantile(0.5), counted.quantile(0.99), counted.quantile(1.0)) == (51, 100, 100)
    assert not dataclasses.replace(counted, of=200).is_complete


@pytest.mark.parametrize("name", ["random:qwen3-5b", "embedded:other", "someone/model"])
def test_read_architecture_names_the_cure(name: str) -> None:
    with pytest.raises(ModelError, match=r"^model.name: .*(there are|or give its folder)"):
        read_architecture(name)


def test_read_architecture_reads_a_local_folder(tmp_path: Path) -> None:
    config = {"model_type": "qwen3", "num_hidden_layers": 36, "hidden_size": 2560, "intermediate_size": 9728,
              "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
              "tie_word_embeddings": True}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_architecture(str(tmp_path)) == KNOWN["qwen3-4b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no model configuration"),
        ("{}", "no `model_type`"),
        ('{"model_type": "mistral"}', "does not know this family"),
        ('{"model_type": "llama", "hidden_size": 8}', "incomplete for a llama model"),
        ('{"model_type": "llama", "num_hidden_layers": 0, "hidden_size": 8}', r"\(num_hidden_layers is 0\)"),
        ('{"model_type": "llama", "num_hidden_layers": 2, "hidden_size": "8"}', r"\(hidden_size is '8'\)"),
    ],
)
def test_read_architecture_refuses_a_config_it_cannot_read(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=said):
        read_architecture(str(tmp_path))


def test_choose_target_asks_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA Some Card, 24564, 580.95.05, 8.6'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert choose_target(None) == Target("cuda", 24564 * 2**20, "NVIDIA Some Card")
    assert choose_target(16).memory == 16 * GIB


@pytest.mark.parametrize(("capability", "size"), [("6.1", 4), ("7.5", 2), ("8.6", 2), ("[N/A]", 2)])
def test_make_setup_takes_the_precision_of_the_card_that_is_here(
    capability: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho 'NVIDIA Some Card, 24564, 580.95.05, {capability}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    recipe = load_recipe(ROOT / "recipes/mbt_r.yaml", ["model.dtype=auto"])
    setups = [make_setup(recipe, KNOWN["qwen3-4b"], choose_target(vram)) for vram in (None, 24)]
    assert [setup.dtype_bytes for setup in setups] == [size, 2]


@pytest.mark.parametrize("vram", ["inf", "nan", "1e300", "0", "24GiB"])
def test_command_refuses_a_size_that_no_card_has(vram: str) -> None:
    result = CliRunner().invoke(cli.app, ["plan", "recipes/mbt_r.yaml", "--vram", vram])
    assert result.exit_code == 2
    assert "'--vram'" in result.stderr


def test_command_prints_json() -> None:
    result = CliRunner().invoke(cli.app, ["plan", "recipes/mbt_r.yaml", "--vram", "12", "--fit", "--json"])
    assert result.exit_code == 0, result.stderr
    row = json.loads(result.stdout)
    assert row["margin_bytes"] < 0
    assert row["fit"]["grpo.rollout_batch_size"] == 16
    assert row["teacher_requests"] == {"solution": 2000, "mbt_r": 2000}


@pytest.mark.parametrize("target", [Target("cpu", 8 * GIB, "here"), card(24)], ids=["cpu", "card"])
def test_tables_have_a_row_for_every_cause(target: Target) -> None:
    stages = plan_on(load_recipe(ROOT / "recipes/mbt_r.yaml"), target).stages
    causes = {cause for phases in stages.values() for one in phases for cause in one.causes}
    assert causes <= set(CAUSES)


def test_command_prints_tables() -> None:
    result = CliRunner().invoke(cli.app, ["plan", "recipes/mbt_r.yaml", "--vram", "24"])
    assert result.exit_code == 0, result.stderr
    assert "4-bit weights" in result.stdout
    assert "peak: " in result.stdout
    assert "computed, not measured on a card" in result.stdout


def test_plan_with_the_engine_says_what_it_holds_and_what_it_does_not_know() -> None:
    asked = ["plan", "recipes/mbt_r.yaml", "--vram", "24", "--set", "grpo.rollout_engine=vllm"]
    result = CliRunner().invoke(cli.app, asked)
    assert result.exit_code == 0, result.stderr
    assert "vLLM holds its whole share of the card while grpo runs" in result.stdout


@pytest.mark.parametrize("own", [{}, {"dev_questions": 8}, {"prefilter": "start"}], ids=["none", "dev", "prefilter"])
def test_plan_with_the_engine_keeps_the_cache_of_rollouts_that_stay_local(own: dict[str, object]) -> None:
    recipe = load_recipe(ROOT / "recipes/mbt_r.yaml")
    alone = {"dev_questions": 0, "prefilter": "off", "rollout_engine": "vllm"} | own
    settings = {f"grpo.{key}": value for key, value in alone.items()}
    stages = plan_on(with_settings(recipe, settings), card(24)).stages
    assert all(("vLLM" in one.causes) == (stage == "grpo") for stage, phases in stages.items() for one in phases)
    assert ("KV cache" in stages["grpo"][1].causes) == bool(own)


# a row holds 2,048 tokens, and up to three rows a prompt of 3,072 each
@pytest.mark.parametrize(("cache_gib", "rows"), [(2.2, 3), (2, 2), (0.001, 1)], ids=["three", "two", "less than one"])
def test_rollouts_are_planned_within_the_limit_of_their_cache(cache_gib: float, rows: int) -> None:
    """The longest prompt of the data may be shorter than the planned one, so too small a limit is not refused here."""
    free, limited = (
        plan_on(load_recipe(ROOT / "recipes/mbt_r.yaml", settings), card(24)).stages["grpo"]
        for settings in ([], [f"grpo.rollout_cache_gib={cache_gib}"])
    )
    caches = [next(one for one in phases if one.name == "rollout").causes["KV cache"] for phases in (free, limited)]
    assert caches[0] > 4 * 2**30
    assert caches[1] == rows * (2048 + 3072) * 147_456
    assert [one for one in free if one.name == "backward"] == [one for one in limited if one.name == "backward"]
