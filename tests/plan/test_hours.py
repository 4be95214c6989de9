"""Hours by hand: tokens to do, divided by rates."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mbt_lite import cli
from mbt_lite.plan.hours import Hours, Tokens, completions, estimate_hours, hours_at, hours_lines, rollout_tokens
from mbt_lite.plan.make_plan import Plan, plan_with
from mbt_lite.plan.rates import Rate, Rates
from mbt_lite.plan.stages import Lengths
from mbt_lite.plan.student_files import read_architecture
from mbt_lite.plan.target import GIB, Target, make_setup
from mbt_lite.plan.workload import ROWS, TRAIN_PROMPTS, Counted, Workload
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.schema import Recipe

ROOT = Path(__file__).parents[2]
NOTHING = Rates(None, None, None, None)
# 10 to 20 tokens/s each
RATE = Rate(10.0, 20.0, ("a file",))
ALL = Rates(RATE, RATE, RATE, None)
PROMPTS = Counted(TRAIN_PROMPTS, (100, 200, 300), 3, is_estimate=False)
WORKLOAD = Workload((PROMPTS,), Lengths(400, 512), 256, 72, None, ())


def recipe_of(*settings: str) -> Recipe:
    steps = {"grpo.steps": "3", "grpo.prompts_per_step": "8", "grpo.group_size": "4", "grpo.micro_batch_size": "4",
             "grpo.save_every_steps": "2"}  # fmt: skip
    asked = dict(setting.split("=", 1) for setting in settings)
    return load_recipe(ROOT / "recipes/demo.yaml", [f"{key}={value}" for key, value in (steps | asked).items()])


def plan_of(recipe: Recipe, workload: Workload = WORKLOAD) -> Plan:
    target = Target("cpu", 8 * GIB, "here")
    return plan_with(recipe, make_setup(recipe, read_architecture(recipe.model.name), target), target, workload)


def estimate(recipe: Recipe, workload: Workload, rates: Rates, folder: Path) -> dict[str, Hours]:
    return estimate_hours(recipe, plan_of(recipe, workload), rates, folder)


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_hours_at_adds_fewest_by_fastest_and_most_by_slowest() -> None:
    other = Rate(100.0, 200.0, ("a file", "another"))
    assert hours_at((Tokens(36_000, 72_000), RATE), (Tokens(720_000, 720_000), other)) == Hours(
        0.5 + 1.0, 2.0 + 2.0, ("a file", "another")
    )


@pytest.mark.parametrize(
    ("tokens", "rate"),
    [(Tokens(None, 36_000), RATE), (Tokens(1.0, 36_000), Rate(10.0, None, ("a file",)))],
    ids=["tokens", "rate"],
)
def test_hours_at_has_no_low_where_one_part_is_unknown(tokens: Tokens, rate: Rate) -> None:
    assert hours_at((Tokens(36_000, 36_000), RATE), (tokens, rate)) == Hours(None, 2.0, ("a file",))


def test_completions_are_never_longer_than_the_limit() -> None:
    assert completions(10, 30.5, 64) == Tokens(305.0, 640)
    assert completions(10, 80.0, 64, at_most=12) == Tokens(640, 768)
    assert completions(10, None, 64) == Tokens(None, 640)


def test_rollout_tokens_has_steps_and_at_most_dev_questions_and_prefilter() -> None:
    grpo = recipe_of(
        "grpo.steps=5", "grpo.dev_questions=10", "grpo.prefilter=start", "grpo.prefilter_samples=2"
    ).grpo  # fmt: skip
    # 5 steps of 8 x 4; dev at the start and with 3 checkpoints, every 2 steps and the last; 256 questions twice
    assert rollout_tokens(grpo, 100.0, 256) == Tokens(160 * 100, (160 + 10 * 4 + 512) * 160)


def test_rollout_tokens_are_twice_as_many_where_forecasts_are_rolled_out_too() -> None:
    once = rollout_tokens(recipe_of("grpo.steps=5").grpo, 100.0, 256)
    twice = rollout_tokens(recipe_of("grpo.steps=5", "grpo.method=masa").grpo, 100.0, 256)
    assert (twice.fewest, twice.most) == (2 * (once.fewest or 0), 2 * once.most)


def test_estimate_of_a_fresh_run_knows_limits_and_prompts_alone(tmp_path: Path) -> None:
    hours = estimate(recipe_of(), WORKLOAD, ALL, tmp_path)
    assert hours["gen"] == Hours(None, 256 * 96 / 10 / 3600, ("a file",))
    # a row has the median prompt at least, the limit at most
    assert hours["sft"] == Hours(256 * 200 / 20 / 3600, 256 * 512 / 10 / 3600, ("a file",))
    # 3 steps of 8 prompts (longest 384, as the recipe allows) and 32 completions, computed once a group
    most = 3 * 32 * 160 + 3 * (8 * 384 + 32 * 160)
    assert hours["grpo"] == Hours(None, pytest.approx(most / 10 / 3600), ("a file",))
    assert hours["eval"] == Hours(None, 72 * 4 * 160 / 10 / 3600, ("a file",))


def test_estimate_takes_lengths_from_what_the_run_has_written(tmp_path: Path) -> None:
    write(tmp_path / "gen/rollouts.jsonl", {"completion_tokens": 40}, {"completion_tokens": 60})
    write(tmp_path / "grpo/metrics.jsonl", {"completions/mean_length": 110.0}, {"completions/mean_length": 130.0})
    write(tmp_path / "eval/base/completions.jsonl", {"completion_tokens": 10})
    write(tmp_path / "eval/sft/completions.jsonl", {"completion_tokens": 30})
    rows = Counted(ROWS, (200, 300), 217, is_estimate=False)
    workload = dataclasses.replace(WORKLOAD, counted=(PROMPTS, rows), completion_tokens=90.0)
    hours = estimate(recipe_of(), workload, ALL, tmp_path)
    assert hours["gen"].low == 256 * 50 / 20 / 3600
    assert (hours["sft"].low, hours["sft"].high) == (217 * 250 / 20 / 3600, 217 * 250 / 10 / 3600)
    assert hours["grpo"].low == pytest.approx((3 * 32 * 120 + 3 * (8 * 200 + 32 * 120)) / 20 / 3600)
    assert hours["eval"].low == 288 * 20 / 20 / 3600


def test_estimate_takes_the_length_of_traces_before_grpo_has_begun(tmp_path: Path) -> None:
    step = dataclasses.replace(ALL, step=RATE)
    hours = estimate(recipe_of(), dataclasses.replace(WORKLOAD, completion_tokens=90.0), step, tmp_path)
    assert hours["grpo"] == Hours(3 * 32 * 90 / 20 / 3600, 3 * 32 * 160 / 10 / 3600, ("a file",))


def test_estimate_counts_the_traces_of_each_kind(tmp_path: Path) -> None:
    scratch = recipe_of("gen.kind=mbt_s", "gen.rollouts_per_question=3", "gen.traces_per_draft=2")
    hours = estimate(scratch, WORKLOAD, ALL, tmp_path)
    assert "gen" not in hours
    assert hours["sft"].high == 512 * 512 / 10 / 3600
    kept = recipe_of("gen.kind=self_distill", "gen.rollouts_per_question=3")
    assert estimate(kept, WORKLOAD, ALL, tmp_path)["sft"].high == 768 * 512 / 10 / 3600


def test_estimate_has_no_figure_without_a_rate_or_a_number_of_questions(tmp_path: Path) -> None:
    for stage, one in estimate(recipe_of(), WORKLOAD, NOTHING, tmp_path).items():
        command = "bench sft RECIPE" if stage == "sft" else "bench grpo --model embedded:smollm2-135m"
        assert (one.low, one.high, one.sources) == (None, None, ())
        assert one.unknown is not None
        assert f"`mbt-lite {command}`" in one.unknown
    unknown = dataclasses.replace(WORKLOAD, n_questions=None, n_dev_questions=None)
    hours = estimate(recipe_of(), unknown, ALL, tmp_path)
    assert [stage for stage, one in hours.items() if one.high is None] == ["gen", "sft", "eval"]
    assert all("set data.train.limit" in (one.unknown or "") for one in hours.values() if one.high is None)


def test_estimate_says_nothing_of_answers_from_an_endpoint(tmp_path: Path) -> None:
    served = recipe_of("eval.student.base_url=http://localhost:1/v1", "eval.student.models.base=m",
                       "eval.variants=[base]")  # fmt: skip
    assert "an endpoint" in (estimate(served, WORKLOAD, ALL, tmp_path)["eval"].unknown or "")


def test_hours_lines_by_stage() -> None:
    hours = {
        "gen": Hours(None, 123.4, ("a", "b")),
        "sft": Hours(0.123, 9.876, ("c",)),
        "grpo": Hours(0.01, 1.9, ("d",)),
        "eval": Hours(None, None, unknown="why"),
    }
    assert list(hours_lines(hours, recipe_of(), "here")) == [
        "time, gen: up to 123 hours (a; b)",
        "time, sft: 0.1 to 9.9 hours (c)",
        "time, grpo: 0.6 to 114 minutes (d)",
        "time, eval: unknown, why",
        "time, not counted: the teacher, the judge and loading",
    ]


def test_hours_lines_are_one_where_nothing_is_known() -> None:
    [line] = hours_lines({"sft": Hours(None, None, unknown="why")}, load_recipe(ROOT / "recipes/mbt_r.yaml"), "a card")
    assert line == (
        "time: unknown, no rate of Qwen/Qwen3-4B is measured on a card; `mbt-lite bench sft RECIPE` and "
        "`mbt-lite bench grpo --model random:qwen3-4b` measure it there"
    )


def test_command_says_hours_in_both_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("mbt_lite.plan.rates.read_card", lambda: None)
    monkeypatch.setattr("mbt_lite.plan.target.read_card", lambda: None)
    arguments = ["plan", "recipes/demo.yaml", "--out", str(tmp_path / "new")]
    said = CliRunner().invoke(cli.app, arguments)
    assert said.exit_code == 0, said.output
    assert "recipes/benchmarks.jsonl" in said.stdout.partition("time, gen: up to ")[2]
    row = json.loads(CliRunner().invoke(cli.app, [*arguments, "--json"]).stdout)
    assert list(row["hours"]) == ["gen", "sft", "grpo", "eval"]
    assert 0 < row["hours"]["sft"]["low"] < row["hours"]["sft"]["high"]
    assert row["hours"]["gen"]["low"] is None
