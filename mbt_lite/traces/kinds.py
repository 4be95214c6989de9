"""The kinds of traces: who drafts, what the teacher is asked, and how the result is written.

Source: the data construction and the controls of arXiv 2602.22508.

| kind | drafts by | teacher requests | training row |
|---|---|---|---|
| mbt_s | nobody | a monologue per trace | five phases, gold |
| mbt_r | student | a guide per question, a rewriting per trace | five phases, gold |
| direct_r | teacher | a draft each, a guide per question, a rewriting per trace | five phases, gold |
| distill_r | student | a guide per question, a rewriting per trace | plain reasoning, gold |
| self_distill | student | none | the draft's own trace and answer |
| teacher_distill | teacher | a draft each | the draft's own trace and answer |

1. Distill-R is ours: the paper names the control, not its prompt. It is MBT-R with one text exchanged.
2. Direct-R uses the text of MBT-R to the letter, so that only the drafts differ.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from mbt_lite.recipe.schema import Gen, TraceKind


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of trace is made.

    `drafter` answers the student prompt first. `request` is the prompt text that asks the teacher for a trace; None
    keeps right drafts as they are. `has_phases` is True iff the trace shall show the five phases and say "we".
    """

    drafter: Literal["student", "teacher"] | None
    request: Literal["mbt_s", "mbt_r", "distill_r"] | None
    has_phases: bool

    @property
    def wants_guide(self) -> bool:
        """Tell whether the teacher writes a solution guide first."""
        return self.request in ("mbt_r", "distill_r")

    @property
    def prompts(self) -> tuple[str, ...]:
        """Name the prompt texts that shape the trace."""
        guide = ("solution",) if self.wants_guide else ()
        request = () if self.request is None else (self.request,)
        return ("student", *guide, *request, *(("monologue",) if self.has_phases else ()))


KINDS: dict[TraceKind, Kind] = {
    "mbt_s": Kind(None, "mbt_s", True),
    "mbt_r": Kind("student", "mbt_r", True),
    "direct_r": Kind("teacher", "mbt_r", True),
    "distill_r": Kind("student", "distill_r", False),
    "self_distill": Kind("student", None, False),
    "teacher_distill": Kind("teacher", None, False),
}


def count_requests(gen: Gen, questions: int) -> dict[str, int]:
    """Give the teacher requests of a run by what they ask for: the most there can be without a second attempt.

    Fewer are sent where drafts are cut off.
    """
    kind, drafts = KINDS[gen.kind], questions * gen.rollouts_per_question
    counts = {}
    if kind.drafter == "teacher":
        counts["draft"] = drafts
    if kind.wants_guide:
        counts["solution"] = questions
    if kind.request is not None:
        counts[gen.kind] = (drafts if kind.drafter else questions) * gen.traces_per_draft
    return counts
