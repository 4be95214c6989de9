"""Completions by a model's own `generate`: sliding windows, unsloth's kernels, all that the shared prefix does not fit.

Its sampling reads torch's global generator, batch by batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.row_slots import Written
from mbt_lite.generation.sampling import token_log_probs
from mbt_lite.student.loading import Student


@torch.inference_mode()
def complete_by_library(
    student: Student, prompts: Sequence[Sequence[int]], decoding: Decoding, limits: Sequence[int]
) -> list[Written]:
    """Complete a batch of tokenised prompts; P·G completions, the G samples of a prompt beside each other."""
    ids, mask = left_pad(prompts, student.pad_id, student.device)
    generator = torch.Generator(device=student.device).manual_seed(decoding.seed)
    torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator, device=student.device)))
    drawing: dict[str, Any] = (
        {"do_sample": True, "temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": decoding.top_k}
        if decoding.temperature
        else {"do_sample": False}
    )
    listener = _Listener(decoding.temperature) if decoding.log_probs else None
    with student.rollout_model() as model:
        output = model.generate(
            input_ids=ids.repeat_interleave(decoding.samples, dim=0),
            attention_mask=mask.long().repeat_interleave(decoding.samples, dim=0),
            max_new_tokens=max(limits),
            eos_token_id=sorted(student.stop_ids),
            pad_token_id=student.pad_id,
            logits_processor=[listener] if listener else None,
            **drawing,
        )
    most = [limit for limit in limits for _ in range(decoding.samples)]
    rows = output[:, ids.shape[1] :].tolist()
    found = [until_stop(row[:limit], student.stop_ids) for row, limit in zip(rows, most, strict=True)]
    if listener is None:
        return [(row, None) for row in found]
    log_probs = listener.log_probs(output[:, -1]).tolist()
    return [(row, tuple(values[: len(row)])) for row, values in zip(found, log_probs, strict=True)]


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
