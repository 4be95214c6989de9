"""`plan --fit`: the smallest change of settings that fits.

A change costs 1 if it leaves the result as it is (batches, checkpointing), 10 if it trades some of it (shorter
completions, fewer samples, a smaller rank, shorter prompts). Each stage is searched by itself with the cheapest first
(Dijkstra), then the keys that stages share; what is proposed has been planned again, and fits.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mbt_lite.plan.make_plan import Plan
from mbt_lite.recipe.checks import conflicts
from mbt_lite.recipe.schema import Recipe

FREE, TRADED = 1, 10
Settings = Mapping[str, Any]
Change = dict[str, Any]


def fitting(recipe: Recipe, plan_of: Callable[[Recipe], Plan]) -> Change | None:
    """Give the overrides (`section.key` to value) with which all stages fit; {}: they do already, None: none do."""
    changed: Change = {}
    for stage in plan_of(recipe).stages:
        found = _cheapest(recipe, plan_of, stage)
        if found is None:
            return None
        changed |= found
        recipe = with_settings(recipe, found)
    return changed


def with_settings(recipe: Recipe, settings: Settings) -> Recipe:
    """Give the recipe with some keys set anew."""
    for key, value in settings.items():
        section, _, name = key.partition(".")
        part = getattr(recipe, section).model_copy(update={name: value})
        recipe = recipe.model_copy(update={section: part})
    return recipe


def _cheapest(recipe: Recipe, plan_of: Callable[[Recipe], Plan], stage: str) -> Change | None:
    """Search the settings of one stage in the order of their cost."""
    number = itertools.count()
    queue: list[tuple[int, int, Change]] = [(0, next(number), {})]
    seen: set[tuple[tuple[str, Any], ...]] = set()
    while queue:
        cost, _, change = heapq.heappop(queue)
        state = tuple(sorted(change.items()))
        if state in seen:
            continue
        seen.add(state)
        changed = with_settings(recipe, change)
        plan = plan_of(changed)
        if max(one.bytes for one in plan.stages[stage]) <= plan.target.usable:
            return change
        for step_cost, step in _steps(changed, stage):
            if not any(conflicts(with_settings(changed, step))):
                heapq.heappush(queue, (cost + step_cost, next(number), change | step))
    return None


def _steps(recipe: Recipe, stage: str) -> Iterator[tuple[int, Change]]:
    """Give the next smaller setting of each key that the stage's memory hangs on, with what the change costs."""
    if stage in ("gen", "eval"):
        section: Any = getattr(recipe, stage)
        yield from _halved(FREE, f"{stage}.batch_size", section.batch_size, 1)
        yield from _halved(TRADED, f"{stage}.max_completion_tokens", section.max_completion_tokens, 256)
    if stage == "sft":
        yield from _sft_steps(recipe)
    if stage == "grpo":
        yield from _grpo_steps(recipe)
    if stage in ("sft", "grpo"):
        yield from _halved(TRADED, "lora.rank", recipe.lora.rank, 8)
    if recipe.model.quantization == "none":
        yield TRADED, {"model.quantization": "nf4"}
    yield from _halved(TRADED, "data.max_prompt_tokens", recipe.data.max_prompt_tokens, 512)


def _sft_steps(recipe: Recipe) -> Iterator[tuple[int, Change]]:
    sft = recipe.sft
    if not sft.gradient_checkpointing:
        yield FREE, {"sft.gradient_checkpointing": True}
    for part in _divided(sft.micro_batch_size):
        # the rows of an optimizer step stay the same
        accumulated = sft.gradient_accumulation_steps * sft.micro_batch_size // part
        yield FREE, {"sft.micro_batch_size": part, "sft.gradient_accumulation_steps": accumulated}
    yield from _halved(TRADED, "sft.max_sequence_tokens", sft.max_sequence_tokens, 512)


def _grpo_steps(recipe: Recipe) -> Iterator[tuple[int, Change]]:
    grpo = recipe.grpo
    if not grpo.gradient_checkpointing:
        yield FREE, {"grpo.gradient_checkpointing": True}
    for part in _divided(grpo.micro_batch_size):
        yield FREE, {"grpo.micro_batch_size": part}
    yield from _halved(FREE, "grpo.rollout_batch_size", grpo.rollout_batch_size, grpo.group_size)
    yield from _halved(TRADED, "grpo.max_completion_tokens", grpo.max_completion_tokens, 256)
    yield from _halved(TRADED, "grpo.group_size", grpo.group_size, 4)


def _divided(rows: int) -> list[int]:
    """Give the largest proper divisor: a step holds whole micro-batches; none of 1."""
    return [part for part in range(rows // 2, 0, -1) if rows % part == 0][:1]


def _halved(cost: int, key: str, value: int, least: int) -> Iterator[tuple[int, Change]]:
    if value // 2 >= least:
        yield cost, {key: value // 2}
