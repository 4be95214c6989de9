"""How probable the student finds the answer that it gives: one number a completion, which only its rollout can tell."""

from __future__ import annotations

import functools
from typing import Any

from mbt_lite.generation.decoding import Rollout
from mbt_lite.rewards.spans import Span, token_confidence
from mbt_lite.rewards.vocabulary import decode_without_specials
from mbt_lite.text.completion import answer_span


def answer_probability(rollout: Rollout, tokenizer: Any, *, prefilled_think: bool) -> float | None:
    """Give exp of the mean log-probability of the answer's tokens, 0..1; None for a completion without an answer.

    The geometric mean, not the product: a long answer is not for that an unlikely one.
    """
    span = answer_span(rollout.text, prefilled_think=prefilled_think)
    if span is None:
        return None
    assert rollout.log_probs is not None, "log-probabilities were not asked for"
    decode = functools.partial(decode_without_specials, tokenizer)
    return token_confidence(Span("", *span, None), rollout.token_ids, rollout.log_probs, decode)
