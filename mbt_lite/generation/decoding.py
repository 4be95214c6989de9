"""How prompts are completed, as one record: what every caller of a student says, and every engine reads."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How prompts are completed; the defaults are one greedy completion each.

    `temperature` 0 is greedy, `top_k` 0 and `top_p` 1 switch their cut off. At most `batch_size` completions are under
    way at once (at least one prompt's worth), and their KV cache takes at most `cache_gib`. `log_probs` asks for
    `Rollout.log_probs`.
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
