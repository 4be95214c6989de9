"""How fast this student was measured to be, in tokens a second: by benchmarks, and by the run folder's own steps.

A measurement counts where its student has the plan's architecture and storage, and its device is of the plan's kind:
the card that is here (any card, for a `--vram` plan where none is), or no card at both. The run folder's steps count
where the plan is for the device that is here. They come before benchmarks: they are of this recipe.

What a rate leaves out:
1. A generation rate holds for about as many completions at once, behind prompts about as long, as were measured.
2. The run folder says how long whole grpo steps took, not what part of them was generation. It is at least as fast as
   the step; how much faster, the share of rollouts in `bench grpo` says, if that was measured.
3. A grpo row without `prompt_tokens` (the first were written so) counts completions alone: its update rate is low.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mbt_lite.architecture.families import known_name
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.plan.phases import Setup
from mbt_lite.plan.target import Target, read_card
from mbt_lite.recipe.schema import Grpo, Recipe
from mbt_lite.records import Measurement, from_row
from mbt_lite.run_dir import RECIPE_FILE

# Ours on this machine, and those of the checkout.
FILES = (Path("runs/benchmarks.jsonl"), Path("recipes/benchmarks.jsonl"))

# Tokens and the seconds they took.
Pace = tuple[float, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Rate:
    """Tokens a second, the slowest and the fastest that was measured, and where that is written.

    `fastest` is None where only a lower bound is known.
    """

    slowest: float
    fastest: float | None
    sources: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Rates:
    """What is known of a student on a device; None: nothing.

    `generate` counts completion tokens, `train` those of the rows of sft, `update` all that pass the layers in the
    update of a grpo step, `step` the completion tokens of whole grpo steps of the run folder.
    """

    generate: Rate | None
    train: Rate | None
    update: Rate | None
    step: Rate | None


def read_rates(recipe: Recipe, setup: Setup, target: Target, run_folder: Path) -> Rates:
    """Read what was measured for the student of a recipe; DataError for a file of measurements with faults."""
    card = read_card()
    is_here = (card is not None) == (target.device == "cuda")
    rows = [
        (f"bench {row.benchmark} of {row.date} on {_device(row)}, {file}", row)
        for file in FILES
        for number, line in enumerate(read_jsonl(file), 1)
        if is_of_student(row := from_row(Measurement, line, f"{file}:{number}"), recipe)
        and is_on_device(row, target, None if card is None else card.name)
    ]
    grpo = [(source, row) for source, row in rows if row.benchmark == "grpo"]
    sft = [(source, pace) for source, row in rows if row.benchmark == "sft" for pace in _sft_paces(row)]
    has_run = is_here and _is_of_run(run_folder, recipe)
    step = _step_rate(run_folder) if has_run else None
    return Rates(
        generate=_rate_of([(source, generation_pace(row)) for source, row in grpo])
        if step is None
        else part_of_steps(step, grpo),
        train=(_train_rate(run_folder) if has_run else None) or _rate_of(sft),
        update=_rate_of([(source, update_pace(row, setup)) for source, row in grpo]),
        step=step,
    )


def is_of_student(row: Measurement, recipe: Recipe) -> bool:
    """Tell whether a row of sft or grpo measured a student of this architecture, stored in as many bits."""
    if row.benchmark not in ("sft", "grpo"):
        return False
    model = row.settings["model"]
    # bench grpo has the name alone: its student is in 4 bits
    name, quantization = (model, "nf4") if isinstance(model, str) else (model["name"], model["quantization"])
    return _is_same(name, quantization, recipe)


def is_on_device(row: Measurement, target: Target, card: str | None) -> bool:
    """Tell whether a row was measured on the kind of device that is planned for; `card` is the one that is here."""
    gpu = row.machine["gpu"]
    if target.device == "cpu":
        return gpu is None
    return gpu is not None and card in (None, gpu)


def _sft_paces(row: Measurement) -> list[Pace]:
    """Give tokens and seconds of each of our runs of `bench sft`."""
    return [(run["tokens"], run["seconds"]) for run in row.figures["runs"] if run["trainer"] == "mbt-lite"]


def generation_pace(row: Measurement) -> Pace:
    """Give the completion tokens of a step of `bench grpo` and the seconds of its rollouts."""
    settings = row.settings
    tokens = settings["prompts"] * settings["group_size"] * settings["completion_tokens"]
    return tokens, row.figures["seconds"]["ours"]["rollout"]


def update_pace(row: Measurement, setup: Setup) -> Pace:
    """Give the tokens that pass the layers in the update of a step of `bench grpo`, and the update's seconds."""
    settings, figures = row.settings, row.figures
    prompt = figures["prompt_tokens"] / settings["prompts"] if "prompt_tokens" in figures else 0.0
    tokens = update_tokens(
        setup, settings["prompts"], settings["group_size"], settings["micro_batch_size"], prompt,
        settings["completion_tokens"],
    )  # fmt: skip
    return tokens, figures["seconds"]["ours"]["update"]


def update_tokens(
    setup: Setup, prompts: int, group_size: int, micro_batch_size: int, prompt: float, completion: float
) -> float:
    """Count the tokens that pass the layers in the update of a step, by the mean lengths of prompt and completion.

    A micro-batch computes a prompt once for the completions of a group that are in it; where rows are padded, each row
    computes its own.
    """
    rows = prompts * group_size
    computed = rows
    if setup.computing.packs_rows:
        starts = range(0, rows, micro_batch_size)
        ends = (min(rows, start + micro_batch_size) - 1 for start in starts)
        computed = sum(end // group_size - start // group_size + 1 for start, end in zip(starts, ends, strict=True))
    return computed * prompt + rows * completion


def _train_rate(run_folder: Path) -> Rate | None:
    """Give the rate of the steps of sft that a run has made; None without any."""
    file = run_folder / "sft" / "metrics.jsonl"
    paces, before = [], 0.0
    for row in read_jsonl(file):
        # an evaluation has no speed, and a step of next to none tells nothing
        if row.get("speed/tokens_per_second"):
            total = row["num_tokens"]
            # a run that went on after a stop counts anew
            tokens, before = total - (before if total > before else 0), total
            paces.append((tokens, tokens / row["speed/tokens_per_second"]))
    return rate_of_steps(paces, str(file))


def _step_rate(run_folder: Path) -> Rate | None:
    """Give the completion tokens a second of the grpo steps that a run has made; None without any."""
    file = run_folder / "grpo" / "metrics.jsonl"
    rows = [row for row in read_jsonl(file) if row.get("step_time")]
    if not rows:
        return None
    completions = Grpo.model_construct(**read_json(run_folder / RECIPE_FILE, grpo=dict)["grpo"]).completions_per_step
    return rate_of_steps([(completions * row["completions/mean_length"], row["step_time"]) for row in rows], str(file))


def rate_of_steps(paces: Sequence[Pace], source: str) -> Rate | None:
    """Give the mean rates of the slowest and of the fastest quarter of some steps: one that stalled decides nothing."""
    if not paces:
        return None
    ordered = sorted(paces, key=lambda pace: pace[0] / pace[1])
    quarter = max(1, len(ordered) // 4)
    return Rate(_mean(ordered[:quarter]), _mean(ordered[-quarter:]), (source,))


def part_of_steps(step: Rate, grpo: Sequence[tuple[str, Measurement]]) -> Rate:
    """Give the rate of generation in whole steps: theirs at least, and by its share in `bench grpo` at most."""
    seconds = [row.figures["seconds"]["ours"] for _, row in grpo]
    if step.fastest is None or not seconds:
        return dataclasses.replace(step, fastest=None)
    share = min(one["rollout"] / one["step"] for one in seconds)
    return Rate(step.slowest, step.fastest / share, (*step.sources, *dict.fromkeys(source for source, _ in grpo)))


def _rate_of(paces: Sequence[tuple[str, Pace]]) -> Rate | None:
    """Give the slowest and the fastest of some measurements, with all sources; None without any."""
    if not paces:
        return None
    rates = [tokens / seconds for _, (tokens, seconds) in paces]
    return Rate(min(rates), max(rates), tuple(dict.fromkeys(source for source, _ in paces)))


def _mean(paces: Sequence[Pace]) -> float:
    return sum(tokens for tokens, _ in paces) / sum(seconds for _, seconds in paces)


def _device(row: Measurement) -> str:
    machine = row.machine
    return machine["gpu"] if machine["gpu"] is not None else f"{machine['cores']} cores {machine['cpu']}"


def _is_same(name: str, quantization: str, recipe: Recipe) -> bool:
    """Compare architectures: a random student is as fast as the one it stands for."""
    ours = recipe.model
    return (known_name(name) or name, quantization) == (known_name(ours.name) or ours.name, ours.quantization)


def _is_of_run(run_folder: Path, recipe: Recipe) -> bool:
    resolved = run_folder / RECIPE_FILE
    if not resolved.exists():
        return False
    model = read_json(resolved, model=dict)["model"]
    return _is_same(model["name"], model["quantization"], recipe)
