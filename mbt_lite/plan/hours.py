"""How long the stages that use the student will take: what they have to do, by the rates that were measured.

`low` is the fewest tokens by the fastest rate, `high` the most by the slowest. The fewest come from what is there
already: completions of this run, traces, counted prompts; the most from the recipe's limits. A stage without a measured
rate has no figure, but the command that measures it. Left out, and said so: the teacher, the judge, and loading.

1. Prompts count in training only: in generation they are part of the measured rate (see `rates`).
2. Rows that sft drops, steps without an update, and an early stop are not foreseen.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from mbt_lite.architecture.families import EMBEDDED_PREFIX, RANDOM_PREFIX, known_name
from mbt_lite.files import read_jsonl
from mbt_lite.plan.make_plan import Plan
from mbt_lite.plan.rates import Rate, Rates, update_tokens
from mbt_lite.plan.workload import ROWS, TRAIN_PROMPTS, Workload
from mbt_lite.recipe.schema import Grpo, Recipe
from mbt_lite.traces.kinds import kind_named

SECONDS = 3600
_NO_QUESTIONS = "the number of questions is not known; set data.train.limit and data.dev.limit"
_ELSEWHERE = "answers come from an endpoint or from vLLM, whose rate nothing here measures"
_BY_ENGINE = "rollouts come from vLLM, whose rate nothing here measures"


@dataclasses.dataclass(frozen=True, slots=True)
class Tokens:
    """How many there will be; `fewest` is None where nothing tells."""

    fewest: float | None
    most: float


@dataclasses.dataclass(frozen=True, slots=True)
class Hours:
    """Hours of a stage; `low` is None where nothing tells the fewest tokens or the fastest rate.

    `high` is None where nothing can be said: `unknown` then says why, and what measures it. `sources` are where the
    rates stand.
    """

    low: float | None
    high: float | None
    sources: tuple[str, ...] = ()
    unknown: str | None = None


def estimate_hours(recipe: Recipe, plan: Plan, rates: Rates, run_folder: Path) -> dict[str, Hours]:
    """Estimate each stage of a plan in which the student works."""
    estimates = {
        "gen": _drafting(recipe, plan.workload, rates, run_folder),
        "sft": _tuning(recipe, plan.workload, rates),
        "grpo": _rewarding(recipe, plan, rates, run_folder),
        "eval": _answering(recipe, plan.workload, rates, run_folder),
    }
    return {stage: estimates[stage] for stage in plan.stages}


def hours_at(*works: tuple[Tokens, Rate]) -> Hours:
    """Add up works of known rates."""
    least = [
        tokens.fewest / rate.fastest for tokens, rate in works if tokens.fewest is not None and rate.fastest is not None
    ]
    low = sum(least) / SECONDS if len(least) == len(works) else None
    high = sum(tokens.most / rate.slowest for tokens, rate in works) / SECONDS
    return Hours(low, high, tuple(dict.fromkeys(source for _, rate in works for source in rate.sources)))


def completions(count: int, mean: float | None, limit: int, *, at_most: int | None = None) -> Tokens:
    """Count the tokens of completions from their mean length, if that is known, up to the limit.

    `at_most` is how many there can be, if that is more than `count`.
    """
    most = (count if at_most is None else at_most) * limit
    return Tokens(None if mean is None else count * min(mean, limit), most)


def row_tokens(recipe: Recipe, workload: Workload) -> Tokens | None:
    """Count the tokens of all rows and epochs of sft; None where the number of questions is not known.

    Traces that are there are counted; before, a row has at least the median prompt, at most the recipe's limit.
    """
    epochs, rows = recipe.sft.epochs, workload.counts_of(ROWS)
    if rows is not None:
        tokens = epochs * rows.of * rows.mean
        return Tokens(tokens, tokens)
    if workload.n_questions is None:
        return None
    kind, prompts = kind_named(recipe.gen.kind), workload.counts_of(TRAIN_PROMPTS)
    count = round(workload.n_questions * kind.rows_per_question(recipe.gen))
    count *= 1 if recipe.gen.replay is None else 2
    limit = recipe.sft.max_sequence_tokens
    fewest = None if prompts is None else epochs * count * min(limit, prompts.quantile(0.5))
    return Tokens(fewest, epochs * count * limit)


def rollout_tokens(grpo: Grpo, mean: float | None, n_questions: int | None) -> Tokens:
    """Count the tokens of the rollouts: of the steps alone, up to dev questions and prefilter as well."""
    steps = grpo.steps * grpo.completions_per_step
    scored = grpo.dev_questions * (1 + math.ceil(grpo.steps / grpo.save_every_steps))
    filtered = (n_questions or 0) * grpo.prefilter_samples if grpo.prefilter == "start" else 0
    return completions(steps, mean, grpo.max_completion_tokens, at_most=steps + scored + filtered)


def hours_lines(hours: Mapping[str, Hours], recipe: Recipe, where: str) -> Iterator[str]:
    """Say the hours, one line a stage, and what they leave out; one line in all where nothing is known."""
    if all(one.high is None for one in hours.values()):
        commands = f"`{SFT}` and `{_grpo_command(recipe)}`"
        yield f"time: unknown, no rate of {recipe.model.name} is measured on {where}; {commands} measure it there"
        return
    for stage, one in hours.items():
        if one.high is None:
            yield f"time, {stage}: unknown, {one.unknown}"
        else:
            yield f"time, {stage}: {_span(one.low, one.high)} ({'; '.join(one.sources)})"
    others = "the teacher, the judge and loading" if recipe.judge.is_asked else "the teacher and loading"
    yield f"time, not counted: {others}"


SFT = "mbt-lite bench sft RECIPE"


def _drafting(recipe: Recipe, workload: Workload, rates: Rates, run_folder: Path) -> Hours:
    gen = recipe.gen
    if rates.generate is None:
        return _unmeasured("generation", _grpo_command(recipe))
    if workload.n_questions is None:
        return Hours(None, None, unknown=_NO_QUESTIONS)
    drafted = read_jsonl(run_folder / "gen" / "rollouts.jsonl", completion_tokens=int)
    written = [row["completion_tokens"] for row in drafted]
    drafts = workload.n_questions * kind_named(gen.kind).drafts_per_question(gen)
    return hours_at((completions(drafts, _mean(written), gen.max_completion_tokens), rates.generate))


def _tuning(recipe: Recipe, workload: Workload, rates: Rates) -> Hours:
    if rates.train is None:
        return _unmeasured("training", SFT)
    tokens = row_tokens(recipe, workload)
    return Hours(None, None, unknown=_NO_QUESTIONS) if tokens is None else hours_at((tokens, rates.train))


def _rewarding(recipe: Recipe, plan: Plan, rates: Rates, run_folder: Path) -> Hours:
    grpo, workload = recipe.grpo, plan.workload
    if grpo.rollout_engine == "vllm":
        return Hours(None, None, unknown=_BY_ENGINE)
    steps = read_jsonl(run_folder / "grpo" / "metrics.jsonl")
    lengths = [row["completions/mean_length"] for row in steps if "completions/mean_length" in row]
    mean = _mean(lengths) or workload.completion_tokens
    rollouts = rollout_tokens(grpo, mean, workload.n_questions)
    if rates.step is not None:
        return hours_at((rollouts, rates.step))
    if rates.generate is None or rates.update is None:
        return _unmeasured("step", _grpo_command(recipe))
    prompts = workload.counts_of(TRAIN_PROMPTS)

    def updates(prompt: float, completion: float) -> float:
        groups = (grpo.prompts_per_step * grpo.groups_per_question, grpo.group_size, grpo.micro_batch_size)
        return grpo.steps * update_tokens(plan.setup, *groups, prompt, completion)

    fewest = None if mean is None else updates(prompts.quantile(0.5) if prompts else 0.0, mean)
    most = updates(workload.lengths.prompt, grpo.max_completion_tokens)
    return hours_at((rollouts, rates.generate), (Tokens(fewest, most), rates.update))


def _answering(recipe: Recipe, workload: Workload, rates: Rates, run_folder: Path) -> Hours:
    settings = recipe.eval
    if settings.student.is_asked or settings.engine == "vllm":
        return Hours(None, None, unknown=_ELSEWHERE)
    if rates.generate is None:
        return _unmeasured("generation", _grpo_command(recipe))
    if workload.n_dev_questions is None:
        return Hours(None, None, unknown=_NO_QUESTIONS)
    files = sorted((run_folder / "eval").glob("*/completions.jsonl"))
    written = [row["completion_tokens"] for file in files for row in read_jsonl(file, completion_tokens=int)]
    each = settings.samples_per_question + settings.foresight + settings.without_evidence
    answers = workload.n_dev_questions * each * len(settings.variants)
    return hours_at((completions(answers, _mean(written), settings.max_completion_tokens), rates.generate))


def _unmeasured(what: str, command: str) -> Hours:
    return Hours(None, None, unknown=f"no {what} rate of this student is measured on such a device; `{command}` there")


def _grpo_command(recipe: Recipe) -> str:
    """Give the command that measures a student; a known one with random weights, which needs no hub."""
    name = recipe.model.name
    known = None if name.startswith((EMBEDDED_PREFIX, RANDOM_PREFIX)) else known_name(name)
    return f"mbt-lite bench grpo --model {name if known is None else RANDOM_PREFIX + known}"


def _mean(counts: Sequence[float]) -> float | None:
    return fmean(counts) if counts else None


def _span(low: float | None, high: float) -> str:
    """Say a range of hours, in minutes where all of it is below two hours."""
    scale, unit = (60, "minutes") if high < 2 else (1, "hours")
    return f"{'up' if low is None else _figure(scale * low)} to {_figure(scale * high)} {unit}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
