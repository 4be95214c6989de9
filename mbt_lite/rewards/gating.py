"""What forecasts save: questions that need not be asked, and where to cut a solution short (MASA, arXiv 2510.03259).

Where this differs from the paper: 1. "near 0 or 1" is within half a step of the scale, 1/16; 2. a share of the gated
questions is solved all the same (audit): a gate that is wrong would never learn so from the questions it let pass.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Literal

from mbt_lite.rewards.meta import TRIES, Forecast, median_tokens

Gate = Literal["open", "trivial", "unsolvable"]
# half a step of right_of_8
MARGIN = 1 / (2 * TRIES)
FEWEST_FORECASTS = 3


def gate(forecasts: Iterable[Forecast], sd: float, margin: float = MARGIN) -> Gate:
    """Sort a question by its forecasts of the rate: they agree (sample standard deviation below `sd`) on an end.

    >>> [gate([Forecast(right_of_8=n) for n in told], 0.1) for told in ([8, 8, 8, 7], [0, 0, 0, 1], [8, 8, 8, 6])]
    ['trivial', 'unsolvable', 'open']
    """
    rates = foretold_rates(forecasts)
    if len(rates) < FEWEST_FORECASTS or statistics.stdev(rates) >= sd:
        return "open"
    mean = statistics.fmean(rates)
    return "trivial" if mean >= 1 - margin else "unsolvable" if mean <= margin else "open"


def foretold_rates(forecasts: Iterable[Forecast]) -> list[float]:
    """Give the rates, 0..1, of the forecasts that tell one."""
    return [one.right_of_8 / TRIES for one in forecasts if one.right_of_8 is not None]


def solve_limit(forecasts: Iterable[Forecast], factor: float, floor: int, cap: int) -> int:
    """Give the most tokens of a solution: `factor` times the median foretold, from `floor` to `cap`; none told: `cap`.

    >>> solve_limit([Forecast(tokens=n) for n in (40, 30, 35, 20)], 2.0, 64, 160)
    65
    """
    median = median_tokens(forecasts)
    # a product that is a whole number may come out a little above it
    return cap if median is None else min(cap, max(floor, math.ceil(min(cap, factor * median - 1e-9))))


def is_audited(seed: int, step: int, question_id: str, share: float) -> bool:
    """Tell whether a gated question is solved all the same; steps count from 0."""
    return audit_draw(seed, step, question_id) < share


def audit_draw(seed: int, step: int, question_id: str) -> float:
    """Give a number in [0, 1) that these three alone decide.

    >>> round(audit_draw(0, 2, "demo-train-0000"), 4)
    0.3032
    """
    digest = hashlib.sha256(f"{seed}:{step}:{question_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def gate_quality(no_spread: Sequence[bool], gated: Sequence[bool]) -> tuple[float | None, float | None]:
    """Give precision and recall of a gate over questions that were solved; None where nothing was gated, or spreadless.

    >>> precision, recall = gate_quality([True, True, False, False, True], [True, False, True, False, True])
    >>> round(precision, 6), round(recall, 6)
    (0.666667, 0.666667)
    """
    both = sum(spreadless and closed for spreadless, closed in zip(no_spread, gated, strict=True))
    return both / sum(gated) if any(gated) else None, both / sum(no_spread) if any(no_spread) else None
