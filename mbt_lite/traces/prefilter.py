"""Which questions are worth rollouts: those that the student sometimes solves.

A question that is always or never solved gives groups whose rewards are equal or differ in trifles, and GRPO learns
from differences. Practice: open-r1 filters prompts by the student's pass rate before GRPO.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LEAST_SAMPLES = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Sorted:
    """Question ids by pass rate: between 0 and 1, 1, 0; `unknown` ones have fewer than two completions to judge by."""

    sometimes: tuple[str, ...]
    always: tuple[str, ...]
    never: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def kept(self) -> frozenset[str]:
        """The questions to train on: what is not known to be useless stays."""
        return frozenset(self.sometimes + self.unknown)

    def counts(self) -> dict[str, int]:
        """Count each sort."""
        return {field.name: len(getattr(self, field.name)) for field in dataclasses.fields(self)}


def sort_by_pass_rate(question_ids: Sequence[str], rates: Iterable[Mapping[str, Any]]) -> Sorted:
    """Sort questions by rows with `question_id`, `rollouts` and `correct`; rows of other questions do not count.

    >>> sort_by_pass_rate(["a", "b"], [{"question_id": "a", "rollouts": 4, "correct": 1}]).counts()
    {'sometimes': 1, 'always': 0, 'never': 0, 'unknown': 1}
    """
    by_id = {row["question_id"]: row for row in rates}
    found: dict[str, list[str]] = collections.defaultdict(list)
    for question_id in question_ids:
        row = by_id.get(question_id)
        found[_sort(row["rollouts"], row["correct"]) if row is not None else "unknown"].append(question_id)
    return Sorted(**{field.name: tuple(found[field.name]) for field in dataclasses.fields(Sorted)})


def _sort(rollouts: int, correct: int) -> str:
    assert 0 <= correct <= rollouts, (correct, rollouts)
    if rollouts < LEAST_SAMPLES:
        return "unknown"
    return {0: "never", rollouts: "always"}.get(correct, "sometimes")
