"""How an accepted text becomes a training row."""

from __future__ import annotations

from collections.abc import Sequence

from mbt_lite import prompts
from mbt_lite.records import PhaseSpan, Question, Trace
from mbt_lite.traces.kind import Kind


def build_trace(
    question: Question,
    kind: Kind,
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

    `teacher` is who wrote the trace, the student itself where its drafts are kept; `phases` are spans of `text`.
    """
    assert not phases or text == text.strip(), (text[:40], text[-40:])
    text, answer = text.strip(), question.answer if answer is None else answer
    parts = [question.question_id, kind.name, "-" if rollout_index is None else str(rollout_index), str(trace_index)]
    return Trace(
        trace_id=":".join(parts),
        question_id=question.question_id,
        kind=kind.name,
        rollout_index=rollout_index,
        trace_index=trace_index,
        teacher=teacher,
        scripted=scripted,
        prompt_version=prompts.version_for(kind.prompts, question),
        text=text,
        answer=answer,
        prompt=kind.row_prompt(question),
        completion=({"role": "assistant", "content": kind.completion(text, answer)},),
        phases=tuple(phases),
        row_rule=kind.row_rule,
    )
