"""What the KV cache of rollouts costs, and how many completions go at once under a limit.

In slots (`row_slots`) R rows hold R·T tokens of completions and the prompt slots that they need P·S; by the library a
batch of P prompts and G completions each holds P·G·(S + T). S is the longest prompt, T the room for completions. What a
token costs: `architecture.storage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from mbt_lite.architecture.storage import kv_bytes_per_token, prompt_slots
from mbt_lite.errors import ModelError

GIB = 2**30


def bytes_per_token(config: Any, dtype: torch.dtype) -> int:
    """Give the bytes that one token of one sequence keeps in all layers, from the transformers config of any family."""
    text = config.get_text_config()
    # models without the key split the hidden size
    head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return kv_bytes_per_token(text.num_hidden_layers, text.num_key_value_heads * head_size, dtype.itemsize)


def rows_at_once(
    prompt_tokens: int, samples: int, completion_tokens: int, *, most: int, max_cached_tokens: int | None
) -> int:
    """Give the most row slots, up to `most`, whose cache holds no more than `max_cached_tokens`.

    Raises ModelError where not even one completion does.

    >>> rows_at_once(100, 4, 50, most=16, max_cached_tokens=None)
    16
    >>> rows_at_once(100, 4, 50, most=16, max_cached_tokens=900)  # 8 rows of 50, 5 prompts of 100
    8
    """
    for rows in range(most, 0, -1):
        cached = rows * completion_tokens + prompt_slots(rows, samples) * prompt_tokens
        if max_cached_tokens is None or cached <= max_cached_tokens:
            return rows
    raise _too_little(f"a completion of {completion_tokens} tokens", prompt_tokens, max_cached_tokens)


def batches(
    prompt_tokens: Sequence[int],
    samples: int,
    completion_tokens: int,
    *,
    batch_size: int,
    max_cached_tokens: int | None = None,
) -> Iterator[range]:
    """Cut prompts, sorted by length, into runs of at most `batch_size` completions and `max_cached_tokens`.

    A run has at least one prompt, so its completions may be more than `batch_size`; the cache's limit holds always.
    Raises ModelError for a prompt that is over that limit alone.
    """
    # the last of a run is its longest
    assert list(prompt_tokens) == sorted(prompt_tokens), "prompts are sorted by length"
    most = max(1, batch_size // samples)
    start = 0
    while start < len(prompt_tokens):
        end = start
        while end < len(prompt_tokens) and end - start < most:
            cached = (end + 1 - start) * samples * (prompt_tokens[end] + completion_tokens)
            if max_cached_tokens is not None and cached > max_cached_tokens:
                break
            end += 1
        if end == start:
            completions = f"{samples} completions of {completion_tokens} tokens"
            raise _too_little(completions, prompt_tokens[start], max_cached_tokens)
        yield range(start, end)
        start = end


def _too_little(completions: str, prompt_tokens: int, limit: int | None) -> ModelError:
    return ModelError(
        f"rollouts: {completions} after a prompt of {prompt_tokens} do not fit the limit of the KV cache (got room for "
        f"{limit} tokens); raise `grpo.rollout_cache_gib`, or lower `grpo.group_size` or `grpo.max_completion_tokens`"
    )
