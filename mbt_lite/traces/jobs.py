"""Jobs: the traces that are to be made, one each, what is asked for them, and the row of one that is kept out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from mbt_lite import prompts
from mbt_lite.recipe.schema import Gen, TraceKind
from mbt_lite.records import Completion, Message, Question, Solution
from mbt_lite.traces.build import draft_messages, mbt_s_messages, rewrite_messages, solution_messages
from mbt_lite.traces.kinds import KINDS


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


def plan_jobs(gen: Gen, questions: Sequence[Question], drafts: Sequence[Completion]) -> list[Job]:
    """Plan the traces of a run: so many a question from scratch or a draft; a draft kept as it is is one."""
    kind, by_id = KINDS[gen.kind], {question.question_id: question for question in questions}
    if kind.drafter is None:
        sources: list[tuple[Question, Completion | None]] = [(question, None) for question in questions]
    else:
        sources = [(by_id[draft.question_id], draft) for draft in drafts]
    each = range(1 if kind.request is None else gen.traces_per_draft)
    return [Job(question, draft, index) for question, draft in sources for index in each]


def job_messages(job: Job, gen: Gen, guide: Solution | None) -> tuple[Message, ...]:
    """Give the chat that asks for a trace; a rewriting follows the guide to its question."""
    request = KINDS[gen.kind].request
    assert request is not None, gen.kind
    if request == "mbt_s":
        return mbt_s_messages(job.question, gen.trace_words)
    assert job.draft is not None, job.label
    assert guide is not None, job.label
    return rewrite_messages(job.question, guide, job.draft, request, gen.trace_words)


def expected_messages(gen: Gen, questions: Iterable[Question]) -> list[tuple[Message, ...]]:
    """Give what a run will ask the teacher, as far as it is known before: drafts and guides are left empty in it."""
    kind, expected = KINDS[gen.kind], list[tuple[Message, ...]]()
    for question in questions:
        drafts = gen.rollouts_per_question if kind.drafter else 1
        if kind.drafter == "teacher":
            expected += [draft_messages(question)] * drafts
        if kind.wants_guide:
            expected.append(solution_messages(question))
        if kind.request is not None:
            empty = Completion(question.question_id, 0, "", "stop", 0, 0)
            unwritten = Solution(question.question_id, "", "", False)
            expected += [job_messages(Job(question, empty, 0), gen, unwritten)] * (drafts * gen.traces_per_draft)
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
