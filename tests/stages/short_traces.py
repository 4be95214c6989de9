"""Traces that no teacher wrote, for tests of what comes after `gen`."""

from collections.abc import Sequence
from pathlib import Path

from mbt_lite.files import write_jsonl
from mbt_lite.prompts import completion_text, student_messages
from mbt_lite.records import Question, Trace, to_row


def write_traces(path: Path, questions: Sequence[Question]) -> None:
    """Write one short trace a question, as `gen` would."""
    path.parent.mkdir(parents=True)
    write_jsonl(path, [to_row(trace_of(question)) for question in questions])


def trace_of(question: Question) -> Trace:
    text = f"we look for it and it is {question.answer}"
    return Trace(
        trace_id=f"{question.question_id}:0", question_id=question.question_id, kind="mbt_s", rollout_index=None,
        trace_index=0, teacher="test", scripted=True, prompt_version="0", text=text, answer=question.answer,
        prompt=tuple(student_messages(question)),
        completion=({"role": "assistant", "content": completion_text(text, question.answer)},),
    )  # fmt: skip
