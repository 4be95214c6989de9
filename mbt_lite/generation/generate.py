"""Completions of many prompts by the local student: the rollouts of gen and grpo, the answers of eval.

Prompts are sorted by length and taken in batches; each prompt is computed once for all its samples
(`shared_prefix`), and a prompt whose samples have all ended leaves the batch. A model that the shared prefix does not
fit (sliding windows, unsloth's own kernels) goes through its own `generate`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mbt_lite.generation import kv_cache, shared_prefix
from mbt_lite.generation.decoding import Decoding, Rollout
from mbt_lite.generation.sampling import sample, token_log_probs
from mbt_lite.records import Message
from mbt_lite.student.chat_template import prompt_ids

if TYPE_CHECKING:
    from mbt_lite.student.loading import Student

# A batch is packed anew when fewer than this share of its prompts still have an open completion.
REPACK_BELOW = 0.8


# The tokens of a completion and, where they were asked for, their log-probabilities.
Written = tuple[list[int], tuple[float, ...] | None]


def generate(
    student: Student,
    prompts: Sequence[Sequence[Message]],
    decoding: Decoding,
    wanted: Container[int] | None = None,
    limits: Sequence[int] | None = None,
) -> Iterator[Rollout]:
    """Complete each prompt, yielding the rollouts of a batch when it is finished.

    The same decoding, prompts and machine give the same rollouts. `wanted` holds the indices of the prompts to
    complete, all if None: the batches stay what they are without it, so that work that goes on after a stop ends as if
    it had never stopped. `limits`: the most new tokens of each prompt's completions, from 1 to the decoding's own
    limit, which holds for all where it is None; a completion that is cut there ends by "length". Raises ModelError if
    the KV cache of one prompt takes more than it may.
    """
    tokens = [prompt_ids(student.tokenizer, messages) for messages in prompts]
    limits = _checked_limits(limits, len(prompts), decoding.max_completion_tokens)
    order = sorted(range(len(prompts)), key=lambda index: len(tokens[index]))
    samples, cache_gib = decoding.samples, decoding.cache_gib
    runs = kv_cache.batches(
        [len(tokens[index]) for index in order],
        samples,
        decoding.max_completion_tokens,
        batch_size=decoding.batch_size,
        shared=shares_prompts(student, student.model),
        max_cached_tokens=None if cache_gib is None else max_cached_tokens(student, cache_gib),
    )
    for run in runs:
        batch = [order[position] for position in run]
        if wanted is not None and not any(index in wanted for index in batch):
            continue
        generator = torch.Generator(device=student.device).manual_seed(decoding.seed + run.start)
        batch_limits = [limits[index] for index in batch]
        completions = complete_batch(student, [tokens[index] for index in batch], decoding, generator, batch_limits)
        for position, written in enumerate(completions):
            index = batch[position // samples]
            if wanted is None or index in wanted:
                yield to_rollout(student, index, position % samples, written, len(tokens[index]))


def _checked_limits(limits: Sequence[int] | None, prompts: int, most: int) -> Sequence[int]:
    """Give the limit of each prompt."""
    if limits is None:
        return [most] * prompts
    assert len(limits) == prompts, (len(limits), prompts)
    assert all(1 <= limit <= most for limit in limits), (min(limits), max(limits), most)
    return limits


def shares_prompts(student: Student, model: torch.nn.Module) -> bool:
    """Tell whether a prompt is computed once for all its completions, in rollouts as in training."""
    return student.backend == "transformers" and shared_prefix.is_supported(model)


def max_cached_tokens(student: Student, cache_gib: float) -> int:
    """Give how many tokens' keys and values fit into so many GiB."""
    per_token = kv_cache.bytes_per_token(student.model.config, student.compute_dtype)
    return int(cache_gib * kv_cache.GIB) // per_token


def to_rollout(student: Student, prompt_index: int, sample_index: int, written: Written, prompt_tokens: int) -> Rollout:
    """Decode a completion and say how it ended."""
    ids, log_probs = written
    stopped = bool(ids) and ids[-1] in student.stop_ids
    text = student.tokenizer.decode(ids[:-1] if stopped else ids, skip_special_tokens=True)
    return Rollout(
        prompt_index, sample_index, text, tuple(ids), "stop" if stopped else "length", prompt_tokens, log_probs
    )


@torch.inference_mode()
def complete_batch(
    student: Student,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    generator: torch.Generator,
    limits: Sequence[int] | None = None,
) -> list[Written]:
    """Complete a batch of tokenised prompts; P·G lists of token ids, the G samples of a prompt beside each other.

    A list of ids ends with the stop token, or has as many tokens as its prompt's limit without one.
    """
    limits = _checked_limits(limits, len(prompts), decoding.max_completion_tokens)
    with student.rollout_model() as model:
        if not shares_prompts(student, model):
            return _complete_with_library(student, model, prompts, decoding, generator, limits)
        return _complete_with_shared_prefix(student, model, prompts, decoding, generator, limits)


def _complete_with_shared_prefix(
    student: Student,
    model: torch.nn.Module,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    generator: torch.Generator,
    limits: Sequence[int],
) -> list[Written]:
    shared_prefix.register()
    before = model.config._attn_implementation  # type: ignore[union-attr]
    model.config._attn_implementation = shared_prefix.NAME  # type: ignore[union-attr]
    try:
        return _decode(student, model, prompts, decoding, generator, limits)
    finally:
        model.config._attn_implementation = before  # type: ignore[union-attr]


def _decode(
    student: Student,
    model: torch.nn.Module,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    generator: torch.Generator,
    limits: Sequence[int],
) -> list[Written]:
    """Prefill each prompt once, then decode all samples in step."""
    samples, limit = decoding.samples, max(limits)
    ids, mask = left_pad(prompts, student.pad_id, student.device)
    layers = model.config.get_text_config().num_hidden_layers  # type: ignore[union-attr, operator]
    cache = shared_prefix.SharedPrefixCache(layers, limit, mask)
    logits = _prefill(model, ids, mask, cache)
    cache.start_decoding(samples)
    logits = logits.repeat_interleave(samples, dim=0)
    stop = torch.tensor(sorted(student.stop_ids), device=student.device)
    rows = torch.arange(len(prompts) * samples, device=student.device)
    positions = mask.sum(dim=1).repeat_interleave(samples)
    row_limits = torch.tensor(limits, device=student.device).repeat_interleave(samples)
    open_rows = torch.ones_like(rows, dtype=torch.bool)
    written = torch.full((len(rows), limit), -1, device=student.device)
    log_probs = torch.zeros(written.shape, device=student.device) if decoding.log_probs else None
    for step in range(limit):
        tokens = sample(logits, decoding, generator)
        written[rows[open_rows], step] = tokens[open_rows]
        if log_probs is not None:
            found = token_log_probs(logits, tokens, decoding.temperature)
            log_probs[rows[open_rows], step] = found[open_rows]
        open_rows = open_rows & ~torch.isin(tokens, stop) & (step + 1 < row_limits[rows])
        open_prompts = open_rows.view(-1, samples).any(dim=1)
        if not open_prompts.any():
            break
        if open_prompts.float().mean() < REPACK_BELOW:
            keep = open_prompts.nonzero().squeeze(1)
            keep_rows = open_prompts.repeat_interleave(samples)
            cache.keep(keep, samples)
            rows, tokens, positions, open_rows = (x[keep_rows] for x in (rows, tokens, positions, open_rows))
        output = model(
            input_ids=tokens[:, None],
            position_ids=(positions + step)[:, None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            shared_prefix=cache,
        )
        logits = output.logits[:, -1]
    return _written([[token for token in row if token >= 0] for row in written.tolist()], log_probs)


def _prefill(model: torch.nn.Module, ids: Tensor, mask: Tensor, cache: shared_prefix.SharedPrefixCache) -> Tensor:
    """Compute the prompts into the cache; logits of the first new token. Shapes: ids [P, S], mask [P, S] -> [P, V]."""
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    output = model(
        input_ids=ids,
        attention_mask=mask.long(),
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        # by its index, not as the number 1: a slice is not contiguous, and torch then multiplies it with one copy of
        # the output head per prompt
        logits_to_keep=ids.new_tensor([ids.shape[1] - 1]),
        shared_prefix=cache,
    )
    return output.logits[:, -1]  # type: ignore[no-any-return]


def _complete_with_library(
    student: Student,
    model: torch.nn.Module,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    generator: torch.Generator,
    limits: Sequence[int],
) -> list[Written]:
    """Use the model's own `generate`; its sampling reads torch's global generator, so that is seeded from ours."""
    ids, mask = left_pad(prompts, student.pad_id, student.device)
    torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator, device=student.device)))
    drawing = (
        {"do_sample": True, "temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": decoding.top_k}
        if decoding.temperature
        else {"do_sample": False}
    )
    listener = _Listener(decoding.temperature) if decoding.log_probs else None
    output = model.generate(  # type: ignore[operator]
        input_ids=ids.repeat_interleave(decoding.samples, dim=0),
        attention_mask=mask.long().repeat_interleave(decoding.samples, dim=0),
        max_new_tokens=max(limits),
        eos_token_id=sorted(student.stop_ids),
        pad_token_id=student.pad_id,
        logits_processor=[listener] if listener else None,
        **drawing,
    )
    written = output[:, ids.shape[1] :].tolist()
    most = [limit for limit in limits for _ in range(decoding.samples)]
    completions = [until_stop(row[:limit], student.stop_ids) for row, limit in zip(written, most, strict=True)]
    return _written(completions, listener.log_probs(output[:, -1]) if listener else None)


class _Listener:
    """Hears the logits of every step of a model's own `generate`, before temperature and cuts; changes none."""

    def __init__(self, temperature: float) -> None:
        self._temperature = temperature
        self._logits: Tensor | None = None
        self._columns: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._take(input_ids[:, -1])
        self._logits = scores
        return scores

    def log_probs(self, last: Tensor) -> Tensor:
        """Give those of the tokens drawn [B, T], `last` [B] being the last ones."""
        self._take(last)
        return torch.stack(self._columns, dim=1)

    def _take(self, tokens: Tensor) -> None:
        if self._logits is not None:
            self._columns.append(token_log_probs(self._logits, tokens, self._temperature))


def _written(ids: list[list[int]], log_probs: Tensor | None) -> list[Written]:
    """Join tokens and their log-probabilities; what follows a row's last token is none of its."""
    if log_probs is None:
        return [(row, None) for row in ids]
    return [(row, tuple(values[: len(row)])) for row, values in zip(ids, log_probs.tolist(), strict=True)]


def until_stop(ids: Sequence[int], stop_ids: frozenset[int]) -> list[int]:
    """Cut after the first stop token.

    >>> until_stop([5, 2, 0, 0], frozenset({2}))
    [5, 2]
    """
    for position, token in enumerate(ids):
        if token in stop_ids:
            return list(ids[: position + 1])
    return list(ids)


def left_pad(prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pad prompts on the left. Shapes: P lists -> ids [P, S], mask [P, S] (True where a token stands)."""
    width = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), width), pad_id, device=device)
    mask = torch.zeros((len(prompts), width), dtype=torch.bool, device=device)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt, device=device)
        mask[row, width - len(prompt) :] = True
    return ids, mask
