"""The gold dry run of a method, over characters as tokens: it needs no tokenizer."""

from collections.abc import Mapping
from typing import Any

from mbt_lite.methods.law import Law
from mbt_lite.records import Question
from mbt_lite.rewards.scorer import Scorer
from mbt_lite.rewards.terms import RewardLimits

END_OF_TURN = 0


def gold_findings(
    question: Question,
    weights: Mapping[str, float],
    limits: RewardLimits,
    *,
    prefilled_think: bool = False,
    extras: tuple[Any, ...] = (),
) -> list[str]:
    """Give what is wrong with the law under these weights, and with its extras, for one question."""
    return Law(weights, limits.max_completion_tokens, extras).findings(
        [question], scorer_of(limits, prefilled_think), encode
    )


def scorer_of(limits: RewardLimits, prefilled_think: bool = False) -> Scorer:
    return Scorer(lambda ids: "".join(map(chr, ids)), frozenset({END_OF_TURN}), limits, prefilled_think=prefilled_think)


def encode(text: str) -> list[int]:
    return [ord(character) for character in text]
