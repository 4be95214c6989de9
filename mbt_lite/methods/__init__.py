"""The ways to train by reward: one file each, chosen by `grpo.method`."""

from __future__ import annotations

from typing import assert_never

from mbt_lite.methods.law import Law
from mbt_lite.methods.method import Method
from mbt_lite.recipe.schema import Grpo


def choose_method(grpo: Grpo) -> Method:
    """Give the method that a recipe names."""
    match grpo.method:
        case "law":
            return Law(grpo.reward.weights.model_dump(), grpo.max_completion_tokens)
        case unknown:
            assert_never(unknown)
