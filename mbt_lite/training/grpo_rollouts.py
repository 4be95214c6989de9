"""The rollouts of a GRPO step, as TRL's rollout function: the groups of a step, each prompt computed once.

Each process of a launch rolls out its share of them, with the random numbers that they have in one process.

Where the student has an engine (`grpo.rollout_engine: vllm`), vLLM writes them on the same weights, each completion
from a seed of its own. Its probabilities differ a little from training's (other kernels); that is not corrected for,
but measured (`mismatch`).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from mbt_lite.architecture.storage import prompt_slots
from mbt_lite.errors import ModelError
from mbt_lite.generation import generate as generation
from mbt_lite.generation.decoding import Decoding, Rollout
from mbt_lite.generation.generate import generate
from mbt_lite.generation.kv_cache import rows_at_once
from mbt_lite.launch import read_launch
from mbt_lite.memory import in_phase
from mbt_lite.methods.method import Method, Passes, PromptRow
from mbt_lite.recipe.schema import Grpo
from mbt_lite.records import Message
from mbt_lite.student.chat_template import prompt_ids
from mbt_lite.student.freed_memory import give_back_freed_memory
from mbt_lite.student.loading import Student
from mbt_lite.student.unsloth_backend import generate_by_engine
from mbt_lite.training.grpo_reward import LIMITS, LOG_PROBS
from mbt_lite.training.processes import gather, own_slice, share_of

# Gives the passes of a step (from 0 on) by its prompts, one a group; None: all at once.
PassesOf = Callable[[int, Sequence[Any]], Passes | None]
# So far apart are the seeds of two passes of a step, whose batches have seeds of their own in between.
_PASS_SEEDS = 499


def rollouts(
    student: Student, grpo: Grpo, *, log_probs: bool = False, passes_of: PassesOf | None = None
) -> Callable[[list[Any], Any], dict[str, Any]]:
    """Give the function that TRL calls with the prompts of a step; the step alone decides its seed.

    With `log_probs`, and from an engine always, its result has those of the rollouts (see `Rollout`) as LOG_PROBS.
    `logprobs`, TRL's own key, stays None: there it would correct for an engine whose probabilities are not training's.
    """

    def roll_out(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        with in_phase("rollouts"):
            columns = write(prompts, int(trainer.state.global_step))
        # pieces of the KV cache, which the aligned tensors of training cannot use
        give_back_freed_memory()
        return columns

    def write(prompts: list[Any], step: int) -> dict[str, Any]:
        # TRL repeats each prompt group_size times in a row
        unique = prompts[:: grpo.group_size]
        seed = (grpo.seed + 1) * 1_000_003 + step * 1009
        told: dict[str, Any] = {
            "prompt_ids": [prompt_ids(student.tokenizer, prompt) for prompt in prompts],
            "logprobs": None,
        }
        whole = gather(unique)
        passes = passes_of(step, whole) if passes_of else None
        if passes is not None:
            columns = _in_passes(student, whole, grpo, passes, seed)
            return told | {name: column[own_slice(len(prompts))] for name, column in columns.items()}
        if student.has_engine:
            ids, found_log_probs = zip(*_by_engine(student, unique, grpo, seed), strict=True)
            return told | {"completion_ids": list(ids), LOG_PROBS: list(found_log_probs)}
        first = read_launch().rank * len(unique)
        found = list(sample_by_student(student, unique, grpo, grpo.group_size, seed, log_probs=log_probs, first=first))
        found.sort(key=lambda rollout: (rollout.prompt_index, rollout.sample_index))
        if log_probs:
            told[LOG_PROBS] = [rollout.log_probs for rollout in found]
        return told | {"completion_ids": [list(rollout.token_ids) for rollout in found]}

    return roll_out


def passes_by(method: Method, rows: Sequence[PromptRow], *, prefilled_think: bool) -> PassesOf:
    """Give the passes of a method: TRL tells the prompts of a step only, so its rows are known by them."""
    by_prompt = {json.dumps(row.prompt): row for row in rows}

    def passes_of(step: int, prompts: Sequence[Any]) -> Passes | None:
        asked = [by_prompt[json.dumps(prompt)] for prompt in prompts]
        return method.passes(step, asked, prefilled_think=prefilled_think)

    return passes_of


def _in_passes(student: Student, prompts: Sequence[Any], grpo: Grpo, passes: Passes, seed: int) -> dict[str, list[Any]]:
    """Roll the groups of a step out as a method says; those it leaves out are one stop token each."""
    left_out = [[min(student.stop_ids)]] * grpo.group_size
    groups: dict[int, list[list[int]]] = {}
    limits: dict[int, int] = {}
    asked = next(passes, None)
    while asked is not None:
        wanted = [index for index, limit in asked.items() if limit]
        share = share_of(len(wanted))
        rolled_out = sample_by_student(
            student,
            [prompts[wanted[place]] for place in share],
            grpo,
            grpo.group_size,
            seed,
            limits=[asked[wanted[place]] for place in share],
            first=share.start,
        )
        found: dict[int, list[Rollout]] = {index: [] for index in asked}
        for place, rollout in gather((share[rollout.prompt_index], rollout) for rollout in rolled_out):
            found[wanted[place]].append(rollout)
        for group in found.values():
            group.sort(key=lambda rollout: rollout.sample_index)
        groups |= {index: [list(one.token_ids) for one in group] or left_out for index, group in found.items()}
        limits |= asked
        seed += _PASS_SEEDS
        try:
            asked = passes.send(found)
        except StopIteration:
            asked = None
    assert groups.keys() == set(range(len(prompts))), sorted(groups)
    in_order = range(len(prompts))
    return {
        "completion_ids": [ids for index in in_order for ids in groups[index]],
        LIMITS: [limits[index] for index in in_order for _ in range(grpo.group_size)],
    }


def sample_by_student(
    student: Student,
    prompts: Sequence[Sequence[Message]],
    grpo: Grpo,
    samples: int,
    seed: int,
    *,
    log_probs: bool = False,
    wanted: Container[int] | None = None,
    limits: Sequence[int] | None = None,
    first: int = 0,
) -> Iterator[Rollout]:
    """Complete prompts `samples` times by the student itself, as the steps of grpo do; more as in `generate`.

    `first` of them stand before these, in the shares of other processes.
    """
    decoding = dataclasses.replace(_decoding(grpo), samples=samples, seed=seed, log_probs=log_probs, first_prompt=first)
    return generate(student, prompts, decoding, wanted, limits)


def rows_beside_steps(student: Student, grpo: Grpo, prompts: Sequence[Sequence[Message]], samples: int) -> int:
    """Give how many completions go at once, so many of each prompt, in the cache of `grpo.rollout_batch_size` of steps.

    Fewer samples of a prompt need more prompts at once, and a plan counts those of steps.
    """
    longest, room = max(map(student.count_prompt_tokens, prompts)), grpo.max_completion_tokens
    most = grpo.rollout_batch_size
    held = most * room + prompt_slots(most, grpo.group_size) * longest
    return rows_at_once(longest, samples, room, most=most, max_cached_tokens=held)


def _decoding(grpo: Grpo) -> Decoding:
    return Decoding(
        samples=grpo.group_size,
        temperature=grpo.temperature,
        max_completion_tokens=grpo.max_completion_tokens,
        batch_size=grpo.rollout_batch_size,
        cache_gib=grpo.rollout_cache_gib,
    )


def _by_engine(student: Student, prompts: Sequence[Any], grpo: Grpo, seed: int) -> list[tuple[list[int], list[float]]]:
    settings = {
        "n": grpo.group_size,
        "temperature": grpo.temperature,
        "top_p": 1.0,
        # vLLM's word for "off"
        "top_k": -1,
        "max_tokens": grpo.max_completion_tokens,
        "stop_token_ids": sorted(student.stop_ids),
        # of the token that was drawn; unsloth has vLLM give them after the temperature
        "logprobs": 0,
    }
    outputs = generate_by_engine(
        student.model,
        [prompt_ids(student.tokenizer, prompt) for prompt in prompts],
        # vLLM adds the index of the sample
        [settings | {"seed": seed + index * grpo.group_size} for index in range(len(prompts))],
    )
    return [one for output in outputs for one in group_of(output, grpo.group_size, student.stop_ids)]


def group_of(output: Any, size: int, stop_ids: frozenset[int]) -> list[tuple[list[int], list[float]]]:
    """Read a group from vLLM's output of one prompt, in the order of its samples: tokens and their log-probabilities.

    Raises ModelError for a completion that is missing, ends in another way than it says, or lacks log-probabilities.
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
    return [(ids, _log_probs_of(ids, sample.logprobs or ())) for ids, sample in zip(group, samples, strict=True)]


def _log_probs_of(ids: Sequence[int], told: Sequence[Mapping[int, Any]]) -> list[float]:
    """Read what vLLM tells of each place: a number for the token that was drawn, and perhaps for others."""
    found = [place[token].logprob for token, place in zip(ids, told, strict=False) if token in place]
    if len(found) != len(ids) or not all(map(math.isfinite, found)):
        raise ModelError(
            f"grpo.rollout_engine: vLLM does not tell the log-probabilities of its tokens (got {len(found)} for "
            f"{len(ids)} tokens); set it to local"
        )
    return found


def check_log_probs(grpo: Grpo, method: Method) -> None:
    """Refuse a method that reads log-probabilities of rollouts by vLLM (ModelError): they are not training's."""
    if method.wants_log_probs and grpo.rollout_engine == "vllm":
        raise ModelError(
            f"grpo.rollout_engine: {method.name} reads the policy's log-probabilities, and vLLM's are not training's "
            "(got vllm); set it to local"
        )


def check_cache(student: Student, prompts: Sequence[Sequence[Message]], grpo: Grpo) -> None:
    """Refuse, before step one, a limit of the KV cache under what the longest prompt needs (ModelError)."""
    if grpo.rollout_cache_gib is not None:
        longest = max(student.count_prompt_tokens(messages) for messages in prompts)
        generation.check_cache(student, longest, _decoding(grpo))
