"""Several completions of one question: avg@k, maj@k and pass@k over a variant's questions, with their intervals.

Sources: answers.py. k runs over 1, 2, 4, ... and the number of completions that every question has; maj@k takes the
first k, pass@k is the unbiased estimate from all, and avg@k is the mean of the first k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mbt_lite.metrics.aggregate import Estimate, by_question, estimates
from mbt_lite.metrics.answers import avg_at_k, maj_at_k, pass_at_k
from mbt_lite.records import Prediction


def aggregate_at_k(predictions: Sequence[Prediction], *, samples: int, seed: int) -> dict[str, Any]:
    """Give `samples_per_question` (the least that a question has) and `at_k`: `avg@2`, `maj@2`, `pass@2`, ...

    One completion a question has no `at_k`: all three would be exact match.
    """
    questions = by_question(predictions)
    n = min((len(rows) for rows in questions.values()), default=0)
    columns: dict[str, list[float | None]] = {}
    for k in ks(n) if n > 1 else ():
        columns[f"avg@{k}"] = [avg_at_k([row.exact_match for row in rows[:k]]) for rows in questions.values()]
        columns[f"maj@{k}"] = [maj_at_k([row.answer for row in rows[:k]], rows[0].golds) for rows in questions.values()]
        columns[f"pass@{k}"] = [
            pass_at_k(len(rows), sum(row.exact_match for row in rows), k) for rows in questions.values()
        ]
    found: dict[str, Estimate] = estimates(columns, samples=samples, seed=seed)
    return {"samples_per_question": n, "at_k": found}


def ks(n: int) -> list[int]:
    """Give 1, 2, 4, ... below n, and n.

    >>> ks(6)
    [1, 2, 4, 6]
    """
    return [k for k in (2**i for i in range(n.bit_length())) if k < n] + [n]
