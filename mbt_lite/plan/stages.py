"""Each stage of a recipe as its phases, in the order in which they happen.

A phase is planned at its largest: full prompts, completions that run to their limit, rows as long as they may be.
"""

from __future__ import annotations

import dataclasses
import math

from mbt_lite.architecture.storage import kv_bytes_per_token, prompt_slots
from mbt_lite.plan.activations import MicroBatch
from mbt_lite.plan.phases import (
    Phase,
    Setup,
    backward,
    beside_engine,
    engine_rollout,
    load,
    log_probs,
    merge,
    optimizer,
    rollout,
)
from mbt_lite.recipe.schema import Grpo, Recipe
from mbt_lite.recipe.variants import NO_ADAPTER
from mbt_lite.traces.kinds import kind_named


@dataclasses.dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of the longest prompt, of the longest training row (prompt and trace), and of eval's longest prompt.

    Eval has prompts of its own, with a system prompt or of forecasts; None: its longest is as the others.
    """

    prompt: int
    row: int
    exam: int | None = None

    @property
    def in_eval(self) -> int:
        """The tokens of eval's longest prompt."""
        return self.prompt if self.exam is None else self.exam


def phases_of(recipe: Recipe, setup: Setup, lengths: Lengths) -> dict[str, list[Phase]]:
    """Give the phases of each stage that needs the student's memory; a stage that needs none is left out."""
    stages = {
        "gen": _gen(recipe, setup.in_stage("gen"), lengths),
        "sft": _sft(recipe, setup.in_stage("sft"), lengths),
        "grpo": _grpo(recipe, setup.in_stage("grpo"), lengths),
        "eval": _eval(recipe, setup.in_stage("eval"), lengths),
    }
    return {stage: phases for stage, phases in stages.items() if phases}


def merge_phase(setup: Setup) -> Phase:
    """Give what `mbt-lite export --format merged` needs of the machine's memory."""
    return merge(setup)


def _gen(recipe: Recipe, setup: Setup, lengths: Lengths) -> list[Phase]:
    gen = recipe.gen
    if kind_named(gen.kind).drafter != "student" or gen.student.is_asked:
        return []
    drafts = rollout(
        setup,
        rows=gen.batch_size,
        samples=gen.rollouts_per_question,
        prompt_tokens=lengths.prompt,
        completion_tokens=gen.max_completion_tokens,
        has_adapter=False,
    )
    return [load(setup), drafts]


def _sft(recipe: Recipe, setup: Setup, lengths: Lengths) -> list[Phase]:
    sft = recipe.sft
    step = backward(setup, sft_batch(recipe, lengths), checkpointing=sft.gradient_checkpointing, rolls_out=False)
    return [load(setup), step, optimizer(setup, rolls_out=False)]


def sft_batch(recipe: Recipe, lengths: Lengths) -> MicroBatch:
    """Give the largest micro-batch of sft."""
    return MicroBatch(recipe.sft.micro_batch_size, lengths.row, trained_tokens=lengths.row)


def _grpo(recipe: Recipe, setup: Setup, lengths: Lengths) -> list[Phase]:
    recipe = within_cache(recipe, setup, lengths)
    grpo = recipe.grpo
    local = rollout(setup, **grpo_rollout(recipe, lengths), has_adapter=True, is_training=True)
    is_local = grpo.rollout_engine == "local" or _rolls_out_beside_steps(grpo)
    rollouts = local if is_local else engine_rollout(setup)
    batch = grpo_batch(recipe, lengths, shares=setup.computing.packs_rows)
    step = backward(setup, batch, checkpointing=grpo.gradient_checkpointing, rolls_out=True)
    reference = [log_probs(setup, batch)] if grpo.kl_coefficient > 0 else []
    phases = [load(setup), rollouts, *reference, step, optimizer(setup, rolls_out=True)]
    return [beside_engine(setup, one) for one in phases]


def within_cache(recipe: Recipe, setup: Setup, lengths: Lengths) -> Recipe:
    """Give the recipe with as many rollouts at once as `grpo.rollout_cache_gib` lets go, one at least."""
    grpo, a = recipe.grpo, setup.architecture
    if grpo.rollout_cache_gib is None:
        return recipe
    most = grpo.rollout_cache_gib * 2**30 / kv_bytes_per_token(a.layers, a.kv_size, setup.dtype_bytes)

    def fits(rows: int) -> bool:
        prompts = prompt_slots(rows, grpo.group_size) if setup.computing.packs_rows else rows
        return rows * grpo.max_completion_tokens + prompts * lengths.prompt <= most

    # where the longest prompt that is planned for does not fit, those that there are may
    rows = next(filter(fits, range(grpo.rollout_batch_size, 1, -1)), 1)
    return recipe.model_copy(update={"grpo": grpo.model_copy(update={"rollout_batch_size": rows})})


def grpo_rollout(recipe: Recipe, lengths: Lengths) -> dict[str, int]:
    """Give the largest batch of rollouts, as `rollout` takes it."""
    grpo = recipe.grpo
    # what is scored beside steps keeps no more than so many rows of them (`rows_beside_steps`)
    of_a_step = grpo.rollout_batch_size if _rolls_out_beside_steps(grpo) else grpo.completions_per_step
    return {
        "rows": min(grpo.rollout_batch_size, of_a_step),
        "samples": grpo.group_size,
        "prompt_tokens": lengths.prompt,
        "completion_tokens": grpo.max_completion_tokens,
    }


def _rolls_out_beside_steps(grpo: Grpo) -> bool:
    """Tell whether there are pass rates or dev rewards: the student's own rollouts, beside an engine too."""
    return grpo.prefilter == "start" or grpo.dev_questions > 0


def grpo_batch(recipe: Recipe, lengths: Lengths, *, shares: bool) -> MicroBatch:
    """Give the largest micro-batch of grpo; `shares`: the rows of a prompt compute it once."""
    grpo = recipe.grpo
    tokens = lengths.prompt + grpo.max_completion_tokens
    prompts = _most_prompts(grpo) if shares else 0
    return MicroBatch(grpo.micro_batch_size, tokens, grpo.max_completion_tokens, prompts)


def _most_prompts(grpo: Grpo) -> int:
    """Count the prompts of the micro-batch that has most: neighbouring rows, groups one after the other."""
    rows, group = grpo.micro_batch_size, grpo.group_size
    # whole micro-batches are whole groups again
    starts = range(0, math.lcm(rows, group), rows)
    return max((start + rows - 1) // group - start // group + 1 for start in starts)


def _eval(recipe: Recipe, setup: Setup, lengths: Lengths) -> list[Phase]:
    answers = rollout(
        setup,
        rows=recipe.eval.batch_size,
        samples=1,
        prompt_tokens=lengths.in_eval,
        completion_tokens=recipe.eval.max_completion_tokens,
        has_adapter=any(variant.adapter != NO_ADAPTER for variant in recipe.eval.full_variants),
    )
    return [load(setup), answers]
