"""The ways to train by reward: one file each, chosen by `grpo.method`."""

from __future__ import annotations

from typing import assert_never

from mbt_lite.methods.law import law_of
from mbt_lite.methods.masa import Masa
from mbt_lite.methods.method import Method
from mbt_lite.recipe.schema import Grpo


def choose_method(grpo: Grpo) -> Method:
    """Give the method that a recipe names."""
    match grpo.method:
        case "law":
            return law_of(grpo)
        case "masa":
            return Masa(law_of(grpo), grpo.masa, grpo.steps, grpo.prompts_per_step, grpo.seed)
        case unknown:
            assert_never(unknown)
