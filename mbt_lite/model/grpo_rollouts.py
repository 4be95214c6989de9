"""The rollouts of a GRPO step, as TRL's rollout function: the groups of a step, each prompt computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mbt_lite.model.chat import prompt_ids
from mbt_lite.model.generate import generate, max_cached_tokens, shares_prompts
from mbt_lite.model.kv_cache import batches
from mbt_lite.model.student import Student
from mbt_lite.recipe.schema import Grpo
from mbt_lite.records import Message


def rollouts(student: Student, grpo: Grpo) -> Callable[[list[Any], Any], dict[str, Any]]:
    """Give the function that TRL calls with the prompts of a step; the step alone decides its seed."""

    def roll_out(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        # TRL repeats each prompt group_size times in a row
        unique = prompts[:: grpo.group_size]
        found = list(
            generate(
                student,
                unique,
                samples=grpo.group_size,
                temperature=grpo.temperature,
                top_p=1.0,
                top_k=0,
                max_completion_tokens=grpo.max_completion_tokens,
                batch_size=grpo.rollout_batch_size,
                seed=(grpo.seed + 1) * 1_000_003 + int(trainer.state.global_step) * 1009,
                cache_gib=grpo.rollout_cache_gib,
            )
        )
        found.sort(key=lambda rollout: (rollout.prompt_index, rollout.sample_index))
        return {
            "prompt_ids": [prompt_ids(student.tokenizer, prompt) for prompt in prompts],
            "completion_ids": [list(rollout.token_ids) for rollout in found],
            "logprobs": None,
        }

    return roll_out


def check_cache(student: Student, prompts: Sequence[Sequence[Message]], grpo: Grpo) -> None:
    """Refuse, before step one, a limit of the KV cache under the group of the longest prompt (ModelError)."""
    if grpo.rollout_cache_gib is None:
        return
    longest = max(student.count_prompt_tokens(messages) for messages in prompts)
    runs = batches(
        [longest],
        grpo.group_size,
        grpo.max_completion_tokens,
        batch_size=1,
        shared=shares_prompts(student, student.model),
        max_cached_tokens=max_cached_tokens(student, grpo.rollout_cache_gib),
    )
    assert list(runs) == [range(1)]
