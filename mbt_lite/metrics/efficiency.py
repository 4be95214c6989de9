"""Efficiency metrics: accuracy against length, and how soon and how tidily a trace reaches its answer.

Sources: AES of O1-Pruner (arXiv 2501.12570); the Reach-Redundancy Profile and the Metacognitive Quality Index of arXiv
2602.22508 v2. The judge's findings (first correct paragraph, redundant ones, level) are arguments here.
"""

from __future__ import annotations

import dataclasses

ZERO_BASE_ACCURACY = "base accuracy is 0, so a relative gain has no meaning"
ZERO_BASE_TOKENS = "base completions have no tokens, so a relative length has no meaning"


@dataclasses.dataclass(frozen=True, slots=True)
class Efficiency:
    """An AES, or None with the reason why there is none."""

    value: float | None
    undefined_reason: str | None


def accuracy_efficiency_score(
    *,
    tokens: float,
    accuracy: float,
    base_tokens: float,
    base_accuracy: float,
    alpha: float = 1.0,
    beta: float = 3.0,
    gamma: float = 5.0,
) -> Efficiency:
    """Weigh what was saved in length against what was won or lost in accuracy, relative to the base model.

    dL = (base_tokens - tokens) / base_tokens, dA = (accuracy - base_accuracy) / base_accuracy;
    AES = alpha·dL + beta·dA if dA >= 0, else alpha·dL - gamma·|dA|. Undefined where base has accuracy 0 or no tokens.

    >>> accuracy_efficiency_score(tokens=1500, accuracy=0.5, base_tokens=1000, base_accuracy=0.5).value
    -0.5
    """
    if base_accuracy == 0:
        return Efficiency(None, ZERO_BASE_ACCURACY)
    if base_tokens == 0:
        return Efficiency(None, ZERO_BASE_TOKENS)
    saved = (base_tokens - tokens) / base_tokens
    gained = (accuracy - base_accuracy) / base_accuracy
    return Efficiency(alpha * saved + (beta if gained >= 0 else gamma) * gained, None)


@dataclasses.dataclass(frozen=True, slots=True)
class ReachRedundancy:
    """Where a trace first reaches its answer (`reach`, 0..1), its redundant share, and their balance (1 is best)."""

    reach: float
    redundancy: float
    balance: float


def reach_redundancy(
    *, first_correct: int | None, redundant: int, total: int, base_mean_total: float | None = None
) -> ReachRedundancy:
    """Profile one trace, all counts in sentences (rho, delta and R of the paper).

    rho = first_correct / total (1 if the answer is never reached), delta = redundant / total; R is the harmonic mean of
    1 - rho and 1 - delta. `first_correct` counts up to and including the paragraph that first derives the answer. In
    the length-aware form both are divided by `base_mean_total`, the base model's mean count, instead and capped at 1.

    >>> round(reach_redundancy(first_correct=4, redundant=2, total=10).balance, 6)
    0.685714
    """
    assert total > 0, f"a trace needs sentences (got {total})"
    assert first_correct is None or 0 < first_correct <= total, f"first_correct {first_correct} of {total}"
    assert 0 <= redundant <= total, f"{redundant} redundant of {total}"
    divisor = total if base_mean_total is None else base_mean_total
    reach = 1.0 if first_correct is None else min(1.0, first_correct / divisor)
    redundancy = min(1.0, redundant / divisor)
    early, tidy = 1 - reach, 1 - redundancy
    return ReachRedundancy(reach, redundancy, 2 * early * tidy / (early + tidy) if early + tidy else 0.0)


def metacognitive_quality(level: float, *, tokens: float, base_tokens: float) -> float:
    """Give one completion's share in MQI: its judged level (0..5) times base_tokens / tokens; MQI is the mean of these.

    >>> metacognitive_quality(4, tokens=671, base_tokens=1342)
    8.0
    """
    assert 0 <= level <= 5, f"level {level} is not in 0..5"
    assert tokens > 0, f"tokens {tokens}"
    assert base_tokens > 0, f"base_tokens {base_tokens}"
    return level * base_tokens / tokens
