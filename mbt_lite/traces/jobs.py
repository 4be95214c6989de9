"""Jobs: the traces that are to be made, one each, what is asked for them, and the row of one that is kept out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from mbt_lite import prompts
from mbt_lite.recipe.schema import Gen
from mbt_lite.records import Completion, Message, Question, Solution
from mbt_lite.traces.kind import Kind
from mbt_lite.traces.requests import solution_request


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One trace to be made, from a draft or from scratch."""

    question: Question
    draft: Completion | None
    trace_index: int

    @property
    def rollout_index(self) -> int | None:
        """Give the draft's index."""
        return None if self.draft is None else self.draft.rollout_index

    @property
    def label(self) -> str:
        """Name the trace within its run."""
        rollout = "-" if self.rollout_index is None else self.rollout_index
        return f"{self.question.question_id}:{rollout}:{self.trace_index}"


def plan_jobs(kind: Kind, gen: Gen, questions: Sequence[Question], drafts: Sequence[Completion]) -> list[Job]:
    """Plan the traces of a run: so many a question from scratch or a draft; a draft kept as it is is one."""
    by_id = {question.question_id: question for question in questions}
    if kind.drafter is None:
        sources: list[tuple[Question, Completion | None]] = [(question, None) for question in questions]
    else:
        sources = [(by_id[draft.question_id], draft) for draft in drafts]
    each = range(kind.traces_per_source(gen))
    return [Job(question, draft, index) for question, draft in sources for index in each]


def expected_messages(kind: Kind, gen: Gen, questions: Iterable[Question]) -> list[tuple[Message, ...]]:
    """Give what a run will ask the teacher, as far as it is known before: drafts and guides are left empty in it."""
    expected = list[tuple[Message, ...]]()
    for question in questions:
        sources = kind.sources_per_question(gen)
        if kind.drafter == "teacher":
            expected += [kind.draft_request(question)] * sources
        if kind.wants_guide:
            expected.append(solution_request(question))
        if kind.trace_request is not None:
            empty = Completion(question.question_id, 0, "", "stop", 0, 0) if kind.drafter else None
            unwritten = Solution(question.question_id, "", "", False) if kind.wants_guide else None
            asked = kind.trace_request(question, gen.trace_words, empty, unwritten)
            expected += [asked] * (sources * kind.traces_per_source(gen))
    return expected


def rejected_row(
    job: Job, kind: Kind, reason: str, text: str, *, attempt: int = 1, retried: bool = False
) -> dict[str, Any]:
    """Make the row of what was kept out; the last attempt at a trace is the one that is not `retried`."""
    return {
        "label": job.label,
        "question_id": job.question.question_id,
        "kind": kind.name,
        "prompt_version": prompts.version_for(kind.prompts, job.question),
        "rollout_index": job.rollout_index,
        "trace_index": job.trace_index,
        "attempt": attempt,
        "retried": retried,
        "reason": reason,
        "text": text,
    }
