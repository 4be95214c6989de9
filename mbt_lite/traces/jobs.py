"""Jobs: the traces that are to be made, one each, and the row of one that the gate keeps out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from mbt_lite import prompts
from mbt_lite.recipe.schema import Gen, TraceKind
from mbt_lite.records import Completion, Message, Question, Solution
from mbt_lite.traces.build import draft_messages, mbt_s_messages, rewrite_messages, solution_messages
from mbt_lite.traces.kinds import KINDS


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One trace to be made, from a draft or from scratch; `messages` ask for it, none if the draft is the trace."""

    question: Question
    draft: Completion | None
    trace_index: int
    messages: tuple[Message, ...] = ()

    @property
    def rollout_index(self) -> int | None:
        """Give the draft's index."""
        return None if self.draft is None else self.draft.rollout_index

    @property
    def label(self) -> str:
        """Name the trace within its run."""
        rollout = "-" if self.rollout_index is None else self.rollout_index
        return f"{self.question.question_id}:{rollout}:{self.trace_index}"


def scratch_jobs(questions: Iterable[Question], traces_each: int) -> list[Job]:
    """Plan traces that are written from scratch."""
    return [
        Job(question, None, index, mbt_s_messages(question)) for question in questions for index in range(traces_each)
    ]


def rewrite_jobs(
    drafts: Sequence[Completion],
    questions: Mapping[str, Question],
    solutions: Mapping[str, Solution],
    request: Literal["mbt_r", "distill_r"],
    traces_each: int,
) -> tuple[list[Job], list[Job]]:
    """Plan the rewritings of drafts; give those that can be asked for, and those whose question has no guide."""
    jobs: list[Job] = []
    without_guide: list[Job] = []
    for draft in drafts:
        question, solution = questions[draft.question_id], solutions.get(draft.question_id)
        for index in range(traces_each):
            if solution is None:
                without_guide.append(Job(question, draft, index))
            else:
                jobs.append(Job(question, draft, index, rewrite_messages(question, solution, draft, request)))
    return jobs, without_guide


def expected_messages(gen: Gen, questions: Iterable[Question]) -> list[tuple[Message, ...]]:
    """Give what a run will ask the teacher, as far as it is known before: drafts and guides are left empty in it."""
    kind, expected = KINDS[gen.kind], list[tuple[Message, ...]]()
    for question in questions:
        drafts = gen.rollouts_per_question if kind.drafter else 1
        if kind.drafter == "teacher":
            expected += [draft_messages(question)] * drafts
        if kind.wants_guide:
            expected.append(solution_messages(question))
        if kind.request == "mbt_s":
            expected += [mbt_s_messages(question)] * gen.traces_per_draft
        elif kind.request is not None:
            empty = Completion(question.question_id, 0, "", "stop", 0, 0)
            unwritten = Solution(question.question_id, "", "", False)
            messages = rewrite_messages(question, unwritten, empty, kind.request)
            expected += [messages] * (drafts * gen.traces_per_draft)
    return expected


def rejected_row(
    job: Job, kind: TraceKind, reason: str, text: str, *, attempt: int = 1, retried: bool = False
) -> dict[str, Any]:
    """Make the row of what was kept out; the last attempt at a trace is the one that is not `retried`."""
    return {
        "label": job.label,
        "question_id": job.question.question_id,
        "kind": kind,
        "prompt_version": prompts.version(*KINDS[kind].prompts),
        "rollout_index": job.rollout_index,
        "trace_index": job.trace_index,
        "attempt": attempt,
        "retried": retried,
        "reason": reason,
        "text": text,
    }
