"""Ways to answer a question, one file each: a strategy asks in rounds, and every round is one batch of all questions.

To add a strategy: its file here, its word in `recipe.variants.StrategyName`, a case below, its texts in `prompts/`.
"""

from __future__ import annotations

from typing import assert_never

from mbt_lite.recipe.variants import StrategyName
from mbt_lite.strategies import single
from mbt_lite.strategies.strategy import Strategy


def strategy_named(name: StrategyName) -> Strategy:
    """Give the strategy that a variant of eval names."""
    match name:
        case "single":
            return single.STRATEGY
    assert_never(name)
