"""Stage `grpo`: continue the SFT adapter with group-relative policy optimization on a reward by rule.

Read questions -> check the reward on gold completions -> leave out what is always or never solved -> roll out, score,
train, watch -> keep the best or the last adapter.

::

    grpo/ metrics.jsonl      the figures of each step       warnings.jsonl     figures that stayed outside their range
          completions.jsonl  every completion with terms    completions.html   the best, the worst, the lost ones
          pass_rates.jsonl   what the prefilter sampled     dev_rewards.jsonl  the reward on held-out questions
          best/              adapters of the best scores    adapter/           what eval reads

Differs from the paper (arXiv 2602.22508): 1. small groups and steps, no reference model by default; 2. groups whose
rewards are all equal cost no training pass; 3. besides the paper's answer F1, the recipe may weigh other terms
(`rewards/terms.py`); 4. on request, questions are filtered by pass rate and the adapter is chosen by a dev reward.
"""

from __future__ import annotations

import functools

from mbt_lite.console import Screen
from mbt_lite.data.held_out import read_left_over
from mbt_lite.data.overlap import read_overlap
from mbt_lite.data.questions import read_questions
from mbt_lite.errors import DataError, RecipeError, RunError
from mbt_lite.recipe.schema import Recipe
from mbt_lite.rewards.spans import find_bridges
from mbt_lite.run_dir import RunDir, adapter_files
from mbt_lite.student.backend import backend_of, in_stage
from mbt_lite.training.out_of_memory import naming_out_of_memory
from mbt_lite.training.processes import share_rows
from mbt_lite.training.trackers import check_tracker


def plan(recipe: Recipe, run_dir: RunDir) -> list[str]:
    """Say what a run would do, without loading a model; DataError where the questions are too few for it."""
    check_questions(recipe)
    grpo = recipe.grpo
    groups = grpo.groups_per_question
    asked = "prompts" if groups == 1 else f"questions x {groups} prompts"
    lines = [f"grpo: {grpo.steps} steps of {grpo.prompts_per_step} {asked} x {grpo.group_size} completions"]
    if groups > 1:
        equal = f"as many as method law has with grpo.group_size {groups * grpo.group_size}"
        lines.append(f"grpo: {grpo.steps * grpo.completions_per_step} rollouts, {equal}")
    if grpo.prefilter == "start":
        lines.append(f"grpo: before them, {grpo.prefilter_samples} completions of each question to filter by")
    if grpo.dev_questions:
        scorings = 1 + -(-grpo.steps // grpo.save_every_steps)
        lines.append(f"grpo: {scorings} scorings of {grpo.dev_questions} held-out questions; keeps {grpo.keep_adapter}")
    return [*lines, *bridge_lines(recipe), *read_overlap(recipe.data).lines]


def check_questions(recipe: Recipe) -> None:
    """Refuse, before anything loads, fewer questions than a step has, or than checkpoints are to be scored on."""
    grpo, data = recipe.grpo, recipe.data
    found = len(read_questions(data.train, data.seed))
    if found < grpo.prompts_per_step:
        raise DataError(
            f"{data.train.path}: {found} questions are too few for a step of grpo (got grpo.prompts_per_step "
            f"{grpo.prompts_per_step}); give more, raise data.train.limit, or lower it"
        )
    if grpo.dev_questions:
        read_left_over(data.dev, data.seed, grpo.dev_questions)


def bridge_lines(recipe: Recipe) -> list[str]:
    """Say how many questions have no bridges, so that `grpo.ccrl` says nothing of them; DataError if none has any."""
    if not recipe.grpo.ccrl.weight:
        return []
    train = recipe.data.train
    questions = read_questions(train, recipe.data.seed)
    without = sum(not find_bridges(question) for question in questions)
    if without == len(questions):
        raise DataError(
            f"{train.path}: no question has gold bridges, so no step can be right (got {without} questions); "
            "give others, or set grpo.ccrl.weight to 0"
        )
    titles = "; titles of documents stand in for them" if any(one.bridges_are_titles for one in questions) else ""
    said = f"grpo: {without} of {len(questions)} questions have no gold bridges: their steps earn nothing{titles}"
    return [said] if without or titles else []


def run(recipe: Recipe, run_dir: RunDir, console: Screen) -> None:
    """Train the adapter `grpo/adapter` from `sft/adapter`, or from nothing; done already: say so and return.

    Raises RunError without an SFT adapter, RecipeError for a reward that does not tell right from wrong, ModelError for
    a missing tracker, too little memory, or questions that the processes cannot share.
    """
    adapter = run_dir.stage_dir("sft") / "adapter" if recipe.grpo.start == "sft" else None
    if adapter is not None and not (adapter / "adapter_config.json").exists():
        raise RunError(f"{adapter}: no adapter to continue; run `mbt-lite sft` first, or set grpo.start to base")
    rates = run_dir.stage_dir("gen") / "pass_rates.jsonl" if recipe.grpo.prefilter == "gen" else None
    if rates is not None and not rates.exists():
        raise RunError(f"{rates}: no pass rates of gen's drafts to filter by; set grpo.prefilter to start or off")
    if adapter is not None:
        run_dir.check_outputs("sft")
    inputs = run_dir.fingerprint([*(adapter_files(adapter) if adapter else []), *([rates] if rates else [])])
    for source in (recipe.data.train, *([recipe.data.dev] if recipe.grpo.dev_questions else [])):
        inputs |= run_dir.fingerprint_source(source.path, functools.partial(read_questions, source, recipe.data.seed))
    if run_dir.is_done("grpo", inputs):
        console.print(f"grpo: done already, adapter in {run_dir.stage_dir('grpo') / 'adapter'}")
        return
    check_questions(recipe)
    for line in [*bridge_lines(recipe), *read_overlap(recipe.data).lines]:
        console.print(line, soft_wrap=True)
    check_reference(recipe)
    share_rows(recipe.grpo)
    check_tracker(recipe.tracking.tracker)
    with run_dir.locked("grpo", inputs) as folder, naming_out_of_memory(recipe, "grpo", folder):
        # trl and what it brings, after the backend that patches it
        recipe = in_stage(recipe, "grpo")
        from mbt_lite.training.grpo import train

        summary = train(recipe, adapter, rates, folder, console)
        run_dir.mark_done("grpo", inputs, summary, adapter_files(folder / "adapter"))
    which = f"{summary['adapter']}, of step {summary['adapter_step']}"
    console.print(f"grpo: adapter in {folder / 'adapter'} ({which})", soft_wrap=True)


def check_reference(recipe: Recipe) -> None:
    """Refuse a reference model under unsloth: it would be the untrained model, and undo what sft taught."""
    kl = recipe.grpo.kl_coefficient
    if kl > 0 and backend_of(recipe, "grpo") == "unsloth":
        raise RecipeError(
            [
                "grpo.kl_coefficient: unsloth would pull to the untrained model, away from the SFT adapter "
                f"(got {kl:g}); set it to 0, or `model.backend` to transformers"
            ]
        )
