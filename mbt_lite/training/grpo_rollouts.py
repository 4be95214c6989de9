"""The rollouts of a GRPO step, as TRL's rollout function: the groups of a step, each prompt computed once.

Where the student has an engine (`grpo.rollout_engine: vllm`), vLLM writes them on the same weights, each completion
from a seed of its own. Its probabilities differ a little from training's (other kernels); that is not corrected for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mbt_lite.errors import ModelError
from mbt_lite.generation.decoding import Decoding, Rollout
from mbt_lite.generation.generate import generate, max_cached_tokens, shares_prompts
from mbt_lite.generation.kv_cache import batches
from mbt_lite.memory import in_phase
from mbt_lite.recipe.schema import Grpo
from mbt_lite.records import Message
from mbt_lite.student.chat_template import prompt_ids
from mbt_lite.student.loading import Student
from mbt_lite.student.unsloth_backend import generate_by_engine


def rollouts(student: Student, grpo: Grpo) -> Callable[[list[Any], Any], dict[str, Any]]:
    """Give the function that TRL calls with the prompts of a step; the step alone decides its seed."""

    def roll_out(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        # TRL repeats each prompt group_size times in a row
        unique = prompts[:: grpo.group_size]
        complete = _by_engine if student.has_engine else _by_student
        seed = (grpo.seed + 1) * 1_000_003 + int(trainer.state.global_step) * 1009
        with in_phase("rollouts"):
            return {
                "prompt_ids": [prompt_ids(student.tokenizer, prompt) for prompt in prompts],
                "completion_ids": complete(student, unique, grpo, seed),
                "logprobs": None,
            }

    return roll_out


def sample_by_student(
    student: Student, prompts: Sequence[Sequence[Message]], grpo: Grpo, samples: int, seed: int
) -> Iterator[Rollout]:
    """Complete each prompt `samples` times by the student itself, sampled and batched as the steps of grpo are."""
    return generate(
        student,
        prompts,
        Decoding(
            samples=samples,
            temperature=grpo.temperature,
            max_completion_tokens=grpo.max_completion_tokens,
            batch_size=grpo.rollout_batch_size,
            seed=seed,
            cache_gib=grpo.rollout_cache_gib,
        ),
    )


def _by_student(student: Student, prompts: Sequence[Any], grpo: Grpo, seed: int) -> list[list[int]]:
    found = list(sample_by_student(student, prompts, grpo, grpo.group_size, seed))
    found.sort(key=lambda rollout: (rollout.prompt_index, rollout.sample_index))
    return [list(rollout.token_ids) for rollout in found]


def _by_engine(student: Student, prompts: Sequence[Any], grpo: Grpo, seed: int) -> list[list[int]]:
    settings = {
        "n": grpo.group_size,
        "temperature": grpo.temperature,
        "top_p": 1.0,
        # vLLM's word for "off"
        "top_k": -1,
        "max_tokens": grpo.max_completion_tokens,
        "stop_token_ids": sorted(student.stop_ids),
    }
    outputs = generate_by_engine(
        student.model,
        [prompt_ids(student.tokenizer, prompt) for prompt in prompts],
        # vLLM adds the index of the sample
        [settings | {"seed": seed + index * grpo.group_size} for index in range(len(prompts))],
    )
    return [ids for output in outputs for ids in group_of(output, grpo.group_size, student.stop_ids)]


def group_of(output: Any, size: int, stop_ids: frozenset[int]) -> list[list[int]]:
    """Read a group from vLLM's output of one prompt, in the order of its samples.

    Raises ModelError for a completion that is missing or ends in another way than it says.
    """
    samples = sorted(output.outputs, key=lambda sample: sample.index)
    group = [list(sample.token_ids) for sample in samples]
    ends = ["stop" if ids and ids[-1] in stop_ids else "length" for ids in group]
    said = [sample.finish_reason for sample in samples]
    if len(group) != size or said != ends:
        raise ModelError(
            f"grpo.rollout_engine: vLLM's completions do not end as it says (got {said}, expected {ends}, "
            f"{size} of them); set it to local"
        )
    return group


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
