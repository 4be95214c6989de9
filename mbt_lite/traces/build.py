"""What the teacher is asked for each kind of trace, and how an accepted text becomes a training row.

Source: the data construction of arXiv 2602.22508. MBT-S writes from scratch; a rewriting is a chat of three turns: the
request for a solution guide, the guide, the request to rewrite a draft. `kinds.py` says which kind asks what.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mbt_lite import prompts
from mbt_lite.recipe.schema import TraceKind
from mbt_lite.records import Completion, Message, PhaseSpan, Question, Solution, Trace
from mbt_lite.traces.kinds import KINDS


def draft_messages(question: Question) -> tuple[Message, ...]:
    """Ask for a draft: what the student is asked, whoever answers."""
    return tuple(prompts.student_messages(question))


def solution_messages(question: Question) -> tuple[Message, ...]:
    """Ask for a solution guide."""
    request = prompts.render(
        "solution",
        documents=prompts.number_documents(question.documents),
        question=prompts.one_line(question.question),
        answer=prompts.one_line(question.answer),
    )
    return ({"role": "user", "content": request},)


def words_range(words: tuple[int, int]) -> str:
    """Write a range of words as the prompts do.

    >>> words_range((120, 300))
    'Between 120 and 300'
    """
    return f"Between {words[0]} and {words[1]}"


def mbt_s_messages(question: Question, words: tuple[int, int]) -> tuple[Message, ...]:
    """Ask for a monologue from scratch, so many words long."""
    request = prompts.render(
        "mbt_s",
        monologue=prompts.render("monologue", words=words_range(words)),
        documents=prompts.number_documents(question.documents),
        question=prompts.one_line(question.question),
        answer=prompts.one_line(question.answer),
    )
    return ({"role": "user", "content": request},)


def rewrite_messages(
    question: Question,
    solution: Solution,
    draft: Completion,
    request: Literal["mbt_r", "distill_r"],
    words: tuple[int, int],
) -> tuple[Message, ...]:
    """Ask to rewrite a draft, after the guide: with the five phases (mbt_r) or without (distill_r)."""
    assert draft.question_id == solution.question_id == question.question_id, (draft, solution)
    slots = {
        "question": prompts.one_line(question.question),
        "answer": prompts.one_line(question.answer),
        "draft": draft.text,
    }
    if request == "mbt_r":
        slots["monologue"] = prompts.render("monologue", words=words_range(words))
    else:
        slots["words"] = words_range(words)
    return (
        *solution_messages(question),
        {"role": "assistant", "content": solution.text},
        {"role": "user", "content": prompts.render(request, **slots)},
    )


def build_trace(
    question: Question,
    kind: TraceKind,
    text: str,
    *,
    rollout_index: int | None,
    trace_index: int,
    teacher: str,
    scripted: bool,
    answer: str | None = None,
    phases: Sequence[PhaseSpan] = (),
) -> Trace:
    """Make the training row of an accepted trace; `answer` is the draft's own where it is kept as it is, else the gold.

    `teacher` is who wrote the trace, the student itself for self_distill; `phases` are spans of `text`.
    """
    assert not phases or text == text.strip(), (text[:40], text[-40:])
    text, answer = text.strip(), question.answer if answer is None else answer
    parts = [question.question_id, kind, "-" if rollout_index is None else str(rollout_index), str(trace_index)]
    return Trace(
        trace_id=":".join(parts),
        question_id=question.question_id,
        kind=kind,
        rollout_index=rollout_index,
        trace_index=trace_index,
        teacher=teacher,
        scripted=scripted,
        prompt_version=prompts.version(*KINDS[kind].prompts),
        text=text,
        answer=answer,
        prompt=draft_messages(question),
        completion=({"role": "assistant", "content": prompts.completion_text(text, answer)},),
        phases=tuple(phases),
    )
