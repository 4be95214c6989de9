"""The commands of `mbt-lite bench`: each measures, prints the result and appends it to a file.

They are plain functions: the command line makes them its own. Like it, they import what they need when they run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mbt_lite.screen import say

if TYPE_CHECKING:
    from mbt_lite.records import Measurement

FILE = Path("runs/benchmarks.jsonl")

Append = Annotated[Path, typer.Option(metavar="FILE", help="The file of measurements to append to.")]
Runs = Annotated[int, typer.Option(help="How often to measure; the median counts.", min=1)]


def gen(
    requests: Annotated[int, typer.Option(help="Requests of one run.", min=1)] = 2048,
    concurrency: Annotated[int, typer.Option(help="Requests under way at once.", min=1)] = 64,
    latency_seconds: Annotated[float, typer.Option(help="What the server takes for a reply.", min=0.001)] = 0.2,
    reply_words: Annotated[int, typer.Option(help="Words of a reply.", min=1)] = 100,
    prompt_words: Annotated[int, typer.Option(help="Words of a prompt.", min=1)] = 500,
    runs: Runs = 3,
    append: Append = FILE,
) -> None:
    """Measure the teacher's client against a server with a fixed latency."""
    from mbt_lite.bench.gen import Load, measure_client

    _keep(measure_client(Load(requests, concurrency, latency_seconds, reply_words, prompt_words), runs, say), append)


def sft(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe file; data and teacher are not used.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key; may be repeated.")
    ] = None,
    traces: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A traces.jsonl to train on.  [default: made, of uneven length]")
    ] = None,
    rows: Annotated[int, typer.Option(help="Traces to train on.", min=4)] = 104,
    runs: Runs = 3,
    append: Append = FILE,
) -> None:
    """Measure SFT and a stock TRL run on the same rows, in turns: tokens/s, peak memory, loss."""
    from mbt_lite.bench.sft import measure_sft

    _keep(measure_sft(recipe, settings or [], traces, rows, runs, say), append)


def grpo(
    model: Annotated[str, typer.Option(help="The student, as in a recipe's `model.name`.")] = "embedded:smollm2-135m",
    prompts: Annotated[int, typer.Option(help="Prompts of a step.", min=1)] = 4,
    group_size: Annotated[int, typer.Option(help="Completions of a prompt.", min=2)] = 4,
    completion_tokens: Annotated[int, typer.Option(help="Tokens of every completion.", min=2)] = 64,
    micro_batch_size: Annotated[int, typer.Option(help="Completions of a backward pass.", min=1)] = 4,
    steps: Annotated[int, typer.Option(help="Steps of a run; the first does not count.", min=2)] = 2,
    threads: Annotated[int | None, typer.Option(help="Processor threads; torch's choice without.", min=1)] = None,
    runs: Runs = 3,
    append: Append = FILE,
) -> None:
    """Measure our GRPO step beside stock TRL's, in pairs of fresh processes."""
    from mbt_lite.bench.grpo import Load, measure_steps

    load = Load(model, prompts, group_size, completion_tokens, micro_batch_size, steps, threads)
    _keep(measure_steps(load, runs, say), append)


def rollouts(
    model: Annotated[str, typer.Option(help="The student, as in a recipe's `model.name`.")] = "embedded:smollm2-135m",
    prompts: Annotated[int, typer.Option(help="Prompts.", min=1)] = 64,
    samples: Annotated[int, typer.Option(help="Completions of a prompt.", min=1)] = 4,
    completion_tokens: Annotated[int, typer.Option(help="Tokens of a completion at most.", min=2)] = 160,
    rows: Annotated[int, typer.Option(help="Completions under way at once.", min=1)] = 36,
    threads: Annotated[int | None, typer.Option(help="Processor threads; torch's choice without.", min=1)] = None,
    runs: Runs = 3,
    append: Append = FILE,
) -> None:
    """Measure the student's rollouts: tokens/s, rows alive at a step, time in matrix products."""
    from mbt_lite.bench.rollouts import Load, measure_rollouts

    load = Load(model, prompts, samples, completion_tokens, rows, threads)
    _keep(measure_rollouts(load, runs, say), append)


def learning(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe file; of its stages grpo alone is run.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for the trained seeds; kept, to go on in.")],
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="The run folder whose SFT adapter is trained further.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds to train.", min=1)] = 3,
    samples: Annotated[int, typer.Option(help="Sampled answers per held-out question.", min=1)] = 4,
    against: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Compare with another such folder as well, seed by seed.")
    ] = None,
    append: Append = FILE,
) -> None:
    """Measure what GRPO teaches, over several seeds: held-out questions before and after."""
    from mbt_lite.bench.learning import Trial, measure_learning

    trial = Trial(recipe, tuple(settings or ()), run, out, seeds, samples)
    _keep(measure_learning(trial, against, say), append)


def reward(
    model: Annotated[str, typer.Option(help="The student whose tokenizer is used.")] = "embedded:smollm2-135m",
    prompts: Annotated[int, typer.Option(help="Prompts of the batch.", min=1)] = 8,
    group_size: Annotated[int, typer.Option(help="Completions of each prompt.", min=2)] = 8,
    tokens: Annotated[int, typer.Option(help="Tokens of each completion.", min=64)] = 1024,
    runs: Runs = 21,
    append: Append = FILE,
) -> None:
    """Measure the reward: the law, and its kernel where there is CUDA."""
    from mbt_lite.bench.reward import Batch, measure_reward

    _keep(measure_reward(model, Batch(prompts, group_size, tokens), runs, say), append)


def load(
    model: Annotated[str, typer.Option(help="The student, as in a recipe's `model.name`.")] = "embedded:smollm2-135m",
    runs: Runs = 3,
    append: Append = FILE,
) -> None:
    """Measure a student from the start of a process to its first token: seconds and peak memory."""
    from mbt_lite.bench.load import measure_load

    _keep(measure_load(model, runs, say), append)


def table(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of measurements.")] = FILE,
) -> None:
    """Print the Markdown table of a file of measurements."""
    from mbt_lite.bench.measurement import markdown_table, read_measurements

    say(markdown_table(read_measurements(file)))


def _keep(measurement: Measurement, path: Path) -> None:
    """Append a measurement and say it."""
    from mbt_lite.bench.measurement import append

    append(measurement, path)
    say(f"{measurement.benchmark}: {measurement.result}; appended to {path}")


COMMANDS = (gen, sft, grpo, rollouts, learning, reward, load, table)
