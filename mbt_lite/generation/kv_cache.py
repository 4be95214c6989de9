"""What the KV cache of rollouts costs, and how many prompts go at once under a limit.

With a shared prompt (`shared_prefix`) a batch of P prompts and G completions each holds P·S + P·G·T tokens; without,
P·G·(S + T). S is its longest prompt, T the room for completions. What a token costs: `architecture.storage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from mbt_lite.architecture.storage import kv_bytes_per_token
from mbt_lite.errors import ModelError

GIB = 2**30


def bytes_per_token(config: Any, dtype: torch.dtype) -> int:
    """Give the bytes that one token of one sequence keeps in all layers, from the transformers config of any family."""
    text = config.get_text_config()
    # models without the key split the hidden size
    head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return kv_bytes_per_token(text.num_hidden_layers, text.num_key_value_heads * head_size, dtype.itemsize)


def cached_tokens(prompts: int, prompt_tokens: int, samples: int, completion_tokens: int, *, shared: bool) -> int:
    """Count the tokens whose keys and values a batch keeps.

    >>> cached_tokens(1, 100, 4, 50, shared=True), cached_tokens(1, 100, 4, 50, shared=False)
    (300, 600)
    """
    prompt_copies = 1 if shared else samples
    return prompts * (prompt_copies * prompt_tokens + samples * completion_tokens)


def batches(
    prompt_tokens: Sequence[int],
    samples: int,
    completion_tokens: int,
    *,
    batch_size: int,
    shared: bool,
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
        end = start + 1
        if not _fits(1, prompt_tokens[start], samples, completion_tokens, shared, max_cached_tokens):
            raise ModelError(
                f"rollouts: {samples} completions of {completion_tokens} tokens after a prompt of "
                f"{prompt_tokens[start]} do not fit the limit of the KV cache (got room for {max_cached_tokens} "
                "tokens); raise `grpo.rollout_cache_gib`, or lower `grpo.group_size` or `grpo.max_completion_tokens`"
            )
        while (
            end < len(prompt_tokens)
            and end - start < most
            and _fits(end + 1 - start, prompt_tokens[end], samples, completion_tokens, shared, max_cached_tokens)
        ):
            end += 1
        yield range(start, end)
        start = end


def _fits(prompts: int, longest: int, samples: int, completion_tokens: int, shared: bool, limit: int | None) -> bool:
    return limit is None or cached_tokens(prompts, longest, samples, completion_tokens, shared=shared) <= limit
