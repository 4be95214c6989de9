"""Ways to answer a question, one file each: a strategy asks in rounds, and every round is one batch of all questions.

To add a strategy: its file here, its word in `recipe.variants.StrategyName`, its texts in `prompts/`.
"""

from __future__ import annotations

import importlib

from mbt_lite.recipe.variants import StrategyName
from mbt_lite.strategies.strategy import Strategy


def strategy_named(name: StrategyName) -> Strategy:
    """Give the strategy that a variant of eval names: `STRATEGY` of the file of that name."""
    strategy: Strategy = importlib.import_module(f"{__name__}.{name}").STRATEGY
    return strategy
