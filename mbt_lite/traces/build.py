"""One builder per kind of trace: a question (and a draft) to the teacher's messages, and its reply to a training row.

Source: the data construction of arXiv 2602.22508. MBT-S writes from scratch; MBT-R is a chat of three turns: the
request for a solution guide, the guide, the request to rewrite a draft.
"""

from __future__ import annotations

from mbt_lite import prompts
from mbt_lite.records import Completion, Message, Question, Solution, Trace

PROMPTS_OF = {"mbt_s": ("student", "mbt_s", "monologue"), "mbt_r": ("student", "solution", "mbt_r", "monologue")}


def solution_messages(question: Question) -> tuple[Message, ...]:
    """Ask for a solution guide."""
    request = prompts.render(
        "solution",
        documents=prompts.number_documents(question.documents),
        question=prompts.one_line(question.question),
        answer=prompts.one_line(question.answer),
    )
    return ({"role": "user", "content": request},)


def mbt_s_messages(question: Question) -> tuple[Message, ...]:
    """Ask for a monologue from scratch."""
    request = prompts.render(
        "mbt_s",
        monologue=prompts.text("monologue"),
        documents=prompts.number_documents(question.documents),
        question=prompts.one_line(question.question),
        answer=prompts.one_line(question.answer),
    )
    return ({"role": "user", "content": request},)


def mbt_r_messages(question: Question, solution: Solution, draft: Completion) -> tuple[Message, ...]:
    """Ask to rewrite a draft, after the guide."""
    assert draft.question_id == solution.question_id == question.question_id, (draft, solution)
    request = prompts.render(
        "mbt_r",
        monologue=prompts.text("monologue"),
        question=prompts.one_line(question.question),
        answer=prompts.one_line(question.answer),
        draft=draft.text,
    )
    return (
        *solution_messages(question),
        {"role": "assistant", "content": solution.text},
        {"role": "user", "content": request},
    )


def build_trace(
    question: Question,
    kind: str,
    text: str,
    *,
    rollout_index: int | None,
    trace_index: int,
    teacher: str,
    scripted: bool,
) -> Trace:
    """Make the training row of an accepted monologue."""
    text = text.strip()
    parts = [question.question_id, kind, "-" if rollout_index is None else str(rollout_index), str(trace_index)]
    return Trace(
        trace_id=":".join(parts),
        question_id=question.question_id,
        kind=kind,
        rollout_index=rollout_index,
        trace_index=trace_index,
        teacher=teacher,
        scripted=scripted,
        prompt_version=prompts.version(*PROMPTS_OF[kind]),
        text=text,
        answer=question.answer,
        prompt=tuple(prompts.student_messages(question)),
        completion=({"role": "assistant", "content": prompts.completion_text(text, question.answer)},),
    )
