"""Completions of many prompts by the local student: the rollouts of gen and grpo, the answers of eval.

Prompts go longest first through slots that are filled again as completions end (`row_slots`), each computed once for
all its samples (`shared_prefix`). A model that the shared prefix does not fit goes through its own `generate`, batch by
batch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Container, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from mbt_lite.errors import ModelError
from mbt_lite.generation import kv_cache, shared_prefix
from mbt_lite.generation.decode_graphs import recorder
from mbt_lite.generation.decoding import Decoding, Rollout
from mbt_lite.generation.library import complete_by_library
from mbt_lite.generation.row_slots import RowSlots, Written
from mbt_lite.records import Message
from mbt_lite.student.chat_template import prompt_ids

if TYPE_CHECKING:
    from mbt_lite.student.loading import Student

# So many completions for each row are one wave: work that goes on after a stop computes waves again, and a wave has a
# tail of rows that nothing fills.
WAVE = 8

# A completion: the index of its prompt, of its sample, and what was written.
Found = tuple[int, int, Written]


def generate(
    student: Student,
    prompts: Sequence[Sequence[Message]],
    decoding: Decoding,
    wanted: Container[int] | None = None,
    limits: Sequence[int] | None = None,
) -> Iterator[Rollout]:
    """Complete each prompt, yielding the rollouts as they end.

    The same decoding, prompts and machine give the same rollouts. `wanted` holds the indices of the prompts to
    complete, all if None: what is computed beside them stays what it is without it, so that work that goes on after a
    stop ends as if it had never stopped, at the cost of the waves that it was in. `limits`: the most new tokens of each
    prompt's completions, from 1 to the decoding's own limit, which holds for all where it is None; a completion that is
    cut there ends by "length". Raises ModelError if the KV cache of one prompt takes more than it may.
    """
    tokens = [prompt_ids(student.tokenizer, messages) for messages in prompts]
    for index, place, written in complete(student, tokens, decoding, wanted, limits):
        if wanted is None or index in wanted:
            yield to_rollout(student, index, place, written, len(tokens[index]))


def complete(
    student: Student,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    wanted: Container[int] | None = None,
    limits: Sequence[int] | None = None,
) -> Iterator[Found]:
    """Complete tokenised prompts as `generate` does; gives what is computed beside the wanted ones as well.

    What is written ends with the stop token, or has as many tokens as its prompt's limit without one.
    """
    if not prompts:
        return iter(())
    if limits is None:
        limits = [decoding.max_completion_tokens] * len(prompts)
    assert len(limits) == len(prompts), (len(limits), len(prompts))
    assert all(1 <= limit <= decoding.max_completion_tokens for limit in limits), (min(limits), max(limits))
    road = _in_slots if shares_prompts(student, student.model) else _in_batches
    return road(student, prompts, decoding, range(len(prompts)) if wanted is None else wanted, limits)


def _in_slots(
    student: Student,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    wanted: Container[int],
    limits: Sequence[int],
) -> Iterator[Found]:
    samples = decoding.samples
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    rows = kv_cache.rows_at_once(
        len(prompts[order[0]]),
        samples,
        decoding.max_completion_tokens,
        most=min(decoding.batch_size, len(prompts) * samples),
        max_cached_tokens=_max_cached_tokens(student, decoding),
    )
    size = max(1, WAVE * rows // samples)
    for wave in (order[start : start + size] for start in range(0, len(order), size)):
        missing = samples * sum(index in wanted for index in wave)
        if not missing:
            continue
        with student.rollout_model() as model:
            slots = RowSlots(
                model,
                [prompts[index] for index in wave],
                decoding,
                limits=[limits[index] for index in wave],
                names=[decoding.first_prompt + index for index in wave],
                rows=min(rows, len(wave) * samples),
                stop_ids=student.stop_ids,
                record=recorder(student.device, wanted=student.decode_graphs),
                like=torch.empty(0, dtype=student.compute_dtype, device=student.device),
            )
            try:
                while missing:
                    for place, sample, written in slots.advance():
                        missing -= wave[place] in wanted
                        yield wave[place], sample, written
            finally:
                slots.close()


def _in_batches(
    student: Student,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    wanted: Container[int],
    limits: Sequence[int],
) -> Iterator[Found]:
    samples = decoding.samples
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    runs = kv_cache.batches(
        [len(prompts[index]) for index in order],
        samples,
        decoding.max_completion_tokens,
        batch_size=decoding.batch_size,
        max_cached_tokens=_max_cached_tokens(student, decoding),
    )
    for run in runs:
        batch = [order[position] for position in run]
        if not any(index in wanted for index in batch):
            continue
        own = dataclasses.replace(decoding, seed=decoding.seed + decoding.first_prompt + run.start)
        chosen = [prompts[index] for index in batch]
        for position, written in enumerate(complete_by_library(student, chosen, own, [limits[one] for one in batch])):
            yield batch[position // samples], position % samples, written


def shares_prompts(student: Student, model: torch.nn.Module) -> bool:
    """Tell whether a prompt is computed once for all its completions, in rollouts as in training."""
    return student.backend == "transformers" and shared_prefix.is_supported(model)


def _max_cached_tokens(student: Student, decoding: Decoding) -> int | None:
    """Give how many tokens' keys and values fit into the limit of the cache."""
    if decoding.cache_gib is None:
        return None
    per_token = kv_cache.bytes_per_token(student.model.config, student.compute_dtype)
    return int(decoding.cache_gib * kv_cache.GIB) // per_token


def check_cache(student: Student, longest: int, decoding: Decoding) -> None:
    """Refuse a limit of the KV cache under the least that a prompt of so many tokens needs (ModelError)."""
    limit = _max_cached_tokens(student, decoding)
    samples, room = decoding.samples, decoding.max_completion_tokens
    if shares_prompts(student, student.model):
        kv_cache.rows_at_once(longest, samples, room, most=1, max_cached_tokens=limit)
    else:
        list(kv_cache.batches([longest], samples, room, batch_size=1, max_cached_tokens=limit))


def to_rollout(student: Student, prompt_index: int, sample_index: int, written: Written, prompt_tokens: int) -> Rollout:
    """Decode a completion and say how it ended; ModelError where its log-probabilities are no numbers."""
    ids, log_probs = written
    if wrong := [one for one in log_probs or () if not math.isfinite(one)]:
        raise ModelError(
            f"rollouts: the student's log-probabilities are no numbers (got {wrong[0]}, prompt {prompt_index + 1}); "
            "set `model.dtype` to float32, or look at the adapter"
        )
    stopped = bool(ids) and ids[-1] in student.stop_ids
    text = student.tokenizer.decode(ids[:-1] if stopped else ids, skip_special_tokens=True)
    return Rollout(
        prompt_index, sample_index, text, tuple(ids), "stop" if stopped else "length", prompt_tokens, log_probs
    )
