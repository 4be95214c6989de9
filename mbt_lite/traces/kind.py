"""What a kind of traces is: all that `gen` has to know of it, in one record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from mbt_lite import prompts
from mbt_lite.recipe.schema import ConfidenceFrom, Gen
from mbt_lite.records import Completion, Message, PhaseSpan, Question, RowRule, Solution
from mbt_lite.traces.checks import Rules, draft_rejection, rejection
from mbt_lite.traces.requests import student_request

if TYPE_CHECKING:
    from mbt_lite.traces.asking import Made

Messages = tuple[Message, ...]
Words = tuple[int, int]
RowsOfDrafts = Callable[["Kind", Sequence[Question], Iterable[Completion], Rules, str, int, ConfidenceFrom], "Made"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How one kind of trace is made.

    `drafter` answers `draft_request` first, if there is one. `trace_request` asks the teacher for a trace of so many
    words, from the draft and the guide where the kind has them; None keeps drafts as they are. `wants_guide`: the
    teacher writes a guide to each question before. `second_request`: the drafter is asked this too, as often; both make
    at most one row a question (`traces/meta_rows.py`). So do all drafts together by `rows_of_drafts`, told the rules,
    the student's name, the seed and `gen.confidence_from`. `has_phases` is True iff a trace shall show the five phases
    and say "we". `reads` writes a reply without phases as it is judged and kept. `rejects` and `rejects_draft` give
    the gate's reason to keep a reply, or a draft, out. A row trains `completion` of trace and answer after
    `row_prompt`, as `row_rule` says.
    `carries_out` writes the lines that go on from a trace to the answer, or says why it cannot (`traces/executed.py`).
    """

    name: str
    drafter: Literal["student", "teacher"] | None = None
    draft_request: Callable[[Question], Messages] = student_request
    second_request: Callable[[Question], Messages] | None = None
    rows_of_drafts: RowsOfDrafts | None = None
    wants_guide: bool = False
    trace_request: Callable[[Question, Words, Completion | None, Solution | None], Messages] | None = None
    prompt_names: tuple[str, ...] = ()
    has_phases: bool = False
    reads: Callable[[str], str] = str
    rejects: Callable[[str, str, Question, Rules, Sequence[PhaseSpan]], str | None] = rejection
    rejects_draft: Callable[[Completion, Question, Rules], str | None] = draft_rejection
    row_prompt: Callable[[Question], Messages] = student_request
    completion: Callable[[str, str], str] = prompts.completion_text
    row_rule: RowRule = "closed"
    carries_out: Callable[[str, Question], list[str] | str] | None = None

    @property
    def prompts(self) -> tuple[str, ...]:
        """Name the prompt texts that shape the trace: the student's, the guide's, the kind's own."""
        return ("student", *(("solution",) if self.wants_guide else ()), *self.prompt_names)

    @property
    def is_by_student(self) -> bool:
        """Tell whether the student itself writes the traces."""
        return self.trace_request is None and self.drafter == "student"

    def drafts_per_question(self, gen: Gen) -> int:
        """Count the drafts of one question."""
        return 0 if self.drafter is None else gen.rollouts_per_question * (1 if self.second_request is None else 2)

    def sources_per_question(self, gen: Gen) -> int:
        """Count what traces of one question are made from: its drafts, or the question as a whole."""
        if self.drafter is None or self.second_request or self.rows_of_drafts:
            return 1
        return gen.rollouts_per_question

    def traces_per_source(self, gen: Gen) -> int:
        """Count the traces of a draft, or of a question without one; a draft kept as it is is one."""
        return 1 if self.trace_request is None else gen.traces_per_draft

    def rows_per_question(self, gen: Gen) -> float:
        """Count the training rows of one question, at most."""
        rows = self.sources_per_question(gen) * self.traces_per_source(gen)
        return rows if self.carries_out is None else rows * gen.plan_rows + gen.executed_share

    def rules(self, min_phases: int) -> Rules:
        """Give what the gate asks, without a length limit."""
        return Rules(
            min_phases=min_phases if self.has_phases else 0,
            says_we=self.has_phases,
            prompt_names=tuple(name for name in self.prompts if name != "student"),
        )

    def count_requests(self, gen: Gen, questions: int) -> dict[str, int]:
        """Give the teacher requests of a run by what they ask for: the most there can be without a second attempt.

        Fewer are sent where drafts are cut off.
        """
        sources, counts = questions * self.sources_per_question(gen), {}
        if self.drafter == "teacher":
            counts["draft"] = sources
        if self.wants_guide:
            counts["solution"] = questions
        if self.trace_request is not None:
            counts[self.name] = sources * self.traces_per_source(gen)
        return counts
