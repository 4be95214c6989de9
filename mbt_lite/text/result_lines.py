"""Steps of a trace, one a line: `Step 2: the school of Frank Fisher -> Homer Academy [80]`.

A line has a number, what is looked for, one arrow, what was found, and maybe how sure that is in whole per cent. What
stands for something not known yet, a capital letter or `answer`, makes it a line of a plan; all others tell results.
The grammar is ours.
"""

from __future__ import annotations

import dataclasses
import re

_LINE = re.compile(r"Step (\d{1,2}): ((?:(?!->).)+) -> ++((?:(?!->)[^\[\]])+?)(?: ++\[(100|[1-9]?\d)\])?", re.ASCII)
_VARIABLE = re.compile(r"[A-Z]|answer")


@dataclasses.dataclass(frozen=True, slots=True)
class StepLine:
    """One step; `stated` is its confidence in per cent, None if it says none.

    `value` is what stands in the trace from character `start` up to but not including `end`.
    """

    number: int
    what: str
    value: str
    stated: int | None
    start: int
    end: int

    @property
    def is_plan(self) -> bool:
        """Whether the value is a variable: what is found is not said yet."""
        return _VARIABLE.fullmatch(self.value) is not None


def read_steps(trace: str) -> list[StepLine]:
    """Read the steps of a trace in their order; whatever else stands there is passed over.

    >>> [step.value for step in read_steps("Step 1: director of X -> A and so Step 1: director of X -> Ann Lee [90]")]
    []
    >>> read_steps("Step 1: director of X -> Ann Lee [90]")[0].value
    'Ann Lee'
    """
    found = []
    for line in re.finditer(r"[^\r\n]+", trace):
        step = _LINE.fullmatch(line[0].rstrip())
        if step is not None:
            start = line.start() + step.start(3)
            number, what, value, stated = step.groups()
            found.append(
                StepLine(int(number), what, value, None if stated is None else int(stated), start, start + len(value))
            )
    return found
