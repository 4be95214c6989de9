"""One completion as it is written, token by token: what `chat` shows. Everything else completes in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.sampling import sample, stream_key, uniform
from mbt_lite.student.loading import Student


def stream(student: Student, prompt: Sequence[int], decoding: Decoding) -> Iterator[int]:
    """Give the tokens of one completion; the last ends the turn, unless the limit came first."""
    key = torch.tensor([stream_key(decoding.seed, 0, 0)], device=student.device)
    with student.rollout_model() as model:
        fed, cache = list(prompt), None
        for step in range(decoding.max_completion_tokens):
            output = _step(model, torch.tensor([fed], device=student.device), cache)
            cache = output.past_key_values
            token = int(sample(output.logits[:, -1], decoding, uniform(key, key.new_tensor([step]))))
            yield token
            if token in student.stop_ids:
                return
            fed = [token]


# not around the loop: what runs between two tokens is not ours
@torch.inference_mode()
def _step(model: Any, ids: torch.Tensor, cache: Any) -> Any:
    return model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
