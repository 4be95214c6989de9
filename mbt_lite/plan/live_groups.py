"""How many groups of GRPO will have something to learn from, by the pass rates that a run has measured.

A group whose G answers are all right or all wrong is dead. Of a question with c right answers of n, the chance p of a
right one is not known, but spread as Beta(c + 1/2, n - c + 1/2) (Jeffreys' prior); the mean of p^G is then a product,
E[p^G] = prod (a + i) / (a + b + i) for i < G. The shaped terms of a reward may still tell rows of a dead group apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mbt_lite.files import read_jsonl
from mbt_lite.recipe.schema import Grpo

_SIZES = (4, 8, 16)
# Fewer make a step's gradient that of a handful of questions.
_WANTED = 8


def live_share(rates: Sequence[Mapping[str, int]], size: int) -> float:
    """Give the expected share of groups of `size` with right and wrong answers, from rows with `rollouts`, `correct`.

    >>> round(live_share([{"rollouts": 2, "correct": 1}], 2), 3)
    0.375
    """
    return sum(1 - _all(row, size, row["correct"]) - _all(row, size, row["rollouts"] - row["correct"])
               for row in rates) / len(rates)  # fmt: skip


def _all(row: Mapping[str, int], size: int, seen: int) -> float:
    """Give the chance that all answers of a group are of the kind that was seen so often."""
    return math.prod((seen + 0.5 + place) / (row["rollouts"] + 1 + place) for place in range(size))


def live_lines(grpo: Grpo, run_folder: Path) -> Iterator[str]:
    """Say the share by group size, and the prompts a step that it takes; nothing where no pass rates were measured.

    Questions that `grpo.prefilter` leaves out are in no step, and do not count.
    """
    for source in ("grpo", "gen"):
        path = run_folder / source / "pass_rates.jsonl"
        rates = [row for row in read_jsonl(path, rollouts=int, correct=int) if row["rollouts"] > 1]
        if grpo.prefilter != "off":
            rates = [row for row in rates if 0 < row["correct"] < row["rollouts"]]
        if not rates:
            continue
        sizes = sorted({*_SIZES, grpo.group_size})
        shares = {size: live_share(rates, size) for size in sizes}
        own = grpo.prompts_per_step * shares[grpo.group_size]
        told = ", ".join(f"{shares[size]:.0%} of groups of {size}" for size in sizes)
        steps = ", ".join(f"{math.ceil(_WANTED / shares[size])} x {size}" for size in sizes)
        yield (
            f"live groups by {len(rates)} pass rates ({path}): {told}; {own:.1f} a step of {grpo.prompts_per_step} x "
            f"{grpo.group_size}, {_WANTED} in steps of {steps}"
        )
        return
