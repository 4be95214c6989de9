"""How prompts are completed, as one record, what every caller of a student says; and what every engine gives."""

from __future__ import annotations

import dataclasses

from mbt_lite.records import FinishReason


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How prompts are completed; the defaults are one greedy completion each.

    `temperature` 0 is greedy, `top_k` 0 and `top_p` 1 switch their cut off. At most `batch_size` completions are under
    way at once (at least one prompt's worth), and their KV cache takes at most `cache_gib`. `log_probs` asks for
    `Rollout.log_probs`. `first_prompt`: how many prompts stand before these, whose random numbers are others.
    """

    max_completion_tokens: int
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    batch_size: int = 1
    seed: int = 0
    cache_gib: float | None = None
    log_probs: bool = False
    first_prompt: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Rollout:
    """One completion: `token_ids` end with the stop token iff `finish_reason` is "stop"; `text` leaves it out.

    `log_probs`: of each of `token_ids`, if they were asked for: log softmax(logits / temperature), what TRL's trainer
    computes for the rows of a step, whatever top-k and top-p were; of greedy completions at temperature 1.
    """

    prompt_index: int
    sample_index: int
    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    prompt_tokens: int
    log_probs: tuple[float, ...] | None = None
