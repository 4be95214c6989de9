"""How probable the student finds the answer that it gives: one number a completion, which only its rollout can tell."""

from __future__ import annotations

import functools
import math
from typing import Any

from mbt_lite.generation.decoding import Rollout
from mbt_lite.rewards.vocabulary import decode_without_specials
from mbt_lite.text.completion import answer_span
from mbt_lite.text.token_places import token_places


def answer_probability(rollout: Rollout, tokenizer: Any, *, prefilled_think: bool) -> float | None:
    """Give exp of the mean log-probability of the answer's tokens, 0..1; None for a completion without an answer.

    The geometric mean, not the product: a long answer is not for that an unlikely one.
    """
    span = answer_span(rollout.text, prefilled_think=prefilled_think)
    if span is None:
        return None
    assert rollout.log_probs is not None, "log-probabilities were not asked for"
    places = token_places(rollout.token_ids, functools.partial(decode_without_specials, tokenizer), *span)
    # rounding may lift a certain token above 0
    return min(1.0, math.exp(math.fsum(rollout.log_probs[place] for place in places) / len(places)))
