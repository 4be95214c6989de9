"""Rates by hand, from rows and run folders as the benchmarks and the stages write them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from mbt_lite.plan.rates import (
    Rate,
    generation_pace,
    is_of_student,
    is_on_device,
    part_of_steps,
    rate_of_steps,
    read_rates,
    update_pace,
    update_tokens,
)
from mbt_lite.plan.student_files import read_architecture
from mbt_lite.plan.target import GIB, Target, make_setup
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Measurement, to_row

ROOT = Path(__file__).parents[2]
CPU, CARD = Target("cpu", 8 * GIB, "here"), Target("cuda", 24 * GIB, "a 24 GiB card")
LAPTOP = {"cpu": "Some CPU", "cores": 2, "memory_gib": 15.5, "gpu": None, "gpu_memory_gib": None}
H200 = LAPTOP | {"gpu": "NVIDIA H200", "gpu_memory_gib": 139.0}
# 2 prompts of 100 tokens, 4 completions of 32 tokens each: 256 tokens in 16 s, 20 s of update, 40 s in all
GRPO = Measurement(
    "2026-11-21", "mbt-lite bench grpo", "grpo", "", LAPTOP, {},
    {"model": "random:qwen3-4b", "prompts": 2, "group_size": 4, "completion_tokens": 32, "micro_batch_size": 4},
    {"seconds": {"ours": {"step": 40.0, "rollout": 16.0, "update": 20.0}}, "prompt_tokens": 200.0},
)  # fmt: skip
RUNS = [
    {"trainer": "mbt-lite", "tokens": 1000, "seconds": 10.0},
    {"trainer": "mbt-lite", "tokens": 1000, "seconds": 5.0},
    {"trainer": "trl", "tokens": 1000, "seconds": 50.0},
]
SFT = dataclasses.replace(
    GRPO, benchmark="sft", settings={"model": {"name": "Qwen/Qwen3-4B", "quantization": "nf4"}}, figures={"runs": RUNS}
)


def recipe_of(name: str, *settings: str) -> Recipe:
    return load_recipe(ROOT / "recipes/mbt_r.yaml", [f"model.name={name}", "grpo.group_size=4", *settings])


def setup_of(recipe: Recipe, target: Target = CPU) -> Any:
    return make_setup(recipe, read_architecture(recipe.model.name), target)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No measurements but the test's, and no card."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mbt_lite.plan.rates.read_card", lambda: None)


def write(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_run(folder: Path, name: str = "random:qwen3-4b") -> Path:
    """A run of two steps of 2 x 4 completions: 80 tokens in 10 s, 80 in 5 s; of sft, 300 in 3 s and 500 in 10 s."""
    model = {"name": name, "quantization": "nf4"}
    write(folder / "recipe.resolved.json", {"model": model, "grpo": {"prompts_per_step": 2, "group_size": 4}})
    write(
        folder / "sft/metrics.jsonl",
        {"step": 1, "num_tokens": 300.0, "speed/tokens_per_second": 100.0},
        {"step": 1, "dev/loss": 1.0},
        {"step": 2, "num_tokens": 800.0, "speed/tokens_per_second": 50.0},
    )
    steps = ({"step": 1, "step_time": 10.0}, {"step": 2, "step_time": 5.0})
    write(folder / "grpo/metrics.jsonl", *(step | {"completions/mean_length": 10.0} for step in steps))
    return folder


def test_paces_of_a_grpo_row_by_hand() -> None:
    assert generation_pace(GRPO) == (256, 16.0)
    # on a CPU rows are packed: each group is one micro-batch, so each prompt is computed once
    assert update_pace(GRPO, setup_of(recipe_of("random:qwen3-4b"))) == (2 * 100 + 256, 20.0)


def test_update_pace_of_a_row_without_prompt_tokens_counts_completions_alone() -> None:
    old = dataclasses.replace(GRPO, figures={"seconds": GRPO.figures["seconds"]})
    assert update_pace(old, setup_of(recipe_of("random:qwen3-4b"))) == (256, 20.0)


@pytest.mark.parametrize(
    ("micro_batch_size", "prompts"), [(1, 8), (2, 4), (4, 2), (8, 2), (3, 4)], ids=lambda value: str(value)
)
def test_update_tokens_counts_a_prompt_once_a_micro_batch_and_group(micro_batch_size: int, prompts: int) -> None:
    # rows 0-3 are the first group; of micro-batches of three, 0-2 | 3-5 | 6-7, the second one has both
    setup = setup_of(recipe_of("random:qwen3-4b"))
    assert update_tokens(setup, 2, 4, micro_batch_size, 100.0, 32.0) == prompts * 100 + 8 * 32


def test_update_tokens_counts_every_row_whole_where_rows_are_padded() -> None:
    setup = dataclasses.replace(setup_of(recipe_of("random:qwen3-4b"), CARD), backend="unsloth")
    assert update_tokens(setup, 2, 4, 4, 100.0, 32.0) == 8 * 132


@pytest.mark.parametrize(
    ("name", "settings", "is_same"),
    [
        ("Qwen/Qwen3-4B", [], True),
        ("random:qwen3-4b", [], True),
        ("Qwen/Qwen3-8B", [], False),
        ("embedded:smollm2-135m", [], False),
        ("Qwen/Qwen3-4B", ["model.quantization=none"], False),
    ],
)
def test_is_of_student_compares_architecture_and_storage(name: str, settings: list[str], is_same: bool) -> None:
    recipe = recipe_of(name, *settings)
    assert [is_of_student(row, recipe) for row in (GRPO, SFT)] == [is_same, is_same]
    assert not is_of_student(dataclasses.replace(GRPO, benchmark="gen", settings={}), recipe)


def test_is_on_device_compares_kinds() -> None:
    on_card = dataclasses.replace(GRPO, machine=H200)
    assert is_on_device(GRPO, CPU, None)
    assert not is_on_device(on_card, CPU, None)
    assert not is_on_device(GRPO, CARD, None)
    assert is_on_device(on_card, CARD, None)
    assert is_on_device(on_card, CARD, "NVIDIA H200")
    assert not is_on_device(on_card, CARD, "NVIDIA GeForce RTX 4090")


def test_read_rates_spans_the_rows_of_both_files(tmp_path: Path) -> None:
    twice = dataclasses.replace(GRPO, settings={**GRPO.settings, "prompts": 4}, date="2026-11-20")
    write(tmp_path / "runs/benchmarks.jsonl", to_row(GRPO), to_row(SFT))
    write(tmp_path / "recipes/benchmarks.jsonl", to_row(twice), to_row(dataclasses.replace(GRPO, machine=H200)))
    recipe = recipe_of("Qwen/Qwen3-4B")
    rates = read_rates(recipe, setup_of(recipe), CPU, tmp_path / "none")
    here = "bench {} of 2026-11-21 on 2 cores Some CPU, runs/benchmarks.jsonl"
    there = "bench grpo of 2026-11-20 on 2 cores Some CPU, recipes/benchmarks.jsonl"
    assert rates.generate == Rate(256 / 16, 512 / 16, (here.format("grpo"), there))
    assert rates.train == Rate(100.0, 200.0, (here.format("sft"),))
    assert rates.step is None


def test_read_rates_of_a_card_that_is_not_here_says_which_was_measured(tmp_path: Path) -> None:
    write(tmp_path / "runs/benchmarks.jsonl", to_row(dataclasses.replace(GRPO, machine=H200)))
    recipe = recipe_of("Qwen/Qwen3-4B")
    rates = read_rates(recipe, setup_of(recipe, CARD), CARD, write_run(tmp_path / "runs/a"))
    assert rates.generate is not None
    assert rates.generate.sources == ("bench grpo of 2026-11-21 on NVIDIA H200, runs/benchmarks.jsonl",)
    # the run's steps were made here, where no card is
    assert (rates.train, rates.step) == (None, None)


def test_read_rates_takes_the_runs_own_steps_first(tmp_path: Path) -> None:
    write(tmp_path / "runs/benchmarks.jsonl", to_row(GRPO), to_row(SFT))
    recipe = recipe_of("Qwen/Qwen3-4B")
    rates = read_rates(recipe, setup_of(recipe), CPU, write_run(Path("runs/a")))
    assert rates.train == Rate(50.0, 100.0, ("runs/a/sft/metrics.jsonl",))
    assert rates.step == Rate(8.0, 16.0, ("runs/a/grpo/metrics.jsonl",))
    # rollouts were 16 of 40 s of a measured step
    row = "bench grpo of 2026-11-21 on 2 cores Some CPU, runs/benchmarks.jsonl"
    assert rates.generate == Rate(8.0, 16.0 / 0.4, ("runs/a/grpo/metrics.jsonl", row))


def test_read_rates_of_a_run_that_went_on_after_a_stop_and_hardly_moved(tmp_path: Path) -> None:
    recipe, run = recipe_of("Qwen/Qwen3-4B"), write_run(tmp_path / "a")
    with (run / "sft/metrics.jsonl").open("a") as file:
        for tokens, speed in ((600.0, 60.0), (601.0, 0.0), (900.0, 59.8)):
            file.write(json.dumps({"step": 3, "num_tokens": tokens, "speed/tokens_per_second": speed}) + "\n")
        file.write('{"step": 6, "num_tok')
    train = read_rates(recipe, setup_of(recipe), CPU, run).train
    assert train == Rate(50.0, 100.0, (f"{run}/sft/metrics.jsonl",))


def test_read_rates_counts_both_groups_of_a_masa_step(tmp_path: Path) -> None:
    recipe, run = recipe_of("Qwen/Qwen3-4B"), write_run(tmp_path / "a")
    resolved = json.loads((run / "recipe.resolved.json").read_text())
    write(run / "recipe.resolved.json", resolved | {"grpo": resolved["grpo"] | {"method": "masa"}})
    step = read_rates(recipe, setup_of(recipe), CPU, run).step
    assert step == Rate(16.0, 32.0, (f"{run}/grpo/metrics.jsonl",))


def test_read_rates_leaves_another_students_run_alone(tmp_path: Path) -> None:
    recipe = recipe_of("Qwen/Qwen3-4B")
    rates = read_rates(recipe, setup_of(recipe), CPU, write_run(tmp_path / "a", "random:qwen3-8b"))
    assert (rates.train, rates.step, rates.generate, rates.update) == (None, None, None, None)


def test_part_of_steps_has_no_fastest_without_a_benchmark() -> None:
    assert part_of_steps(Rate(8.0, 16.0, ("a",)), []) == Rate(8.0, None, ("a",))


def test_rate_of_steps_is_that_of_the_slowest_and_fastest_quarter() -> None:
    # eight steps of 10 tokens: in 1 s each, but for two in 4 and 6 s, and two in 0.5 s
    seconds = [1.0, 4.0, 1.0, 0.5, 1.0, 6.0, 0.5, 1.0]
    assert rate_of_steps([(10.0, one) for one in seconds], "a") == Rate(20 / 10, 20 / 1.0, ("a",))
    assert rate_of_steps([], "a") is None
    assert rate_of_steps([(10.0, 4.0)], "a") == Rate(2.5, 2.5, ("a",))


def test_the_shipped_measurements_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    recipe = load_recipe(ROOT / "recipes/demo.yaml")
    rates = read_rates(recipe, setup_of(recipe), CPU, Path("none"))
    assert rates.generate is not None
    assert rates.train is not None
    assert rates.update is not None
