"""MBT-R: the teacher rewrites the student's drafts, right and wrong ones, into five phases."""

from __future__ import annotations

from mbt_lite.records import Completion, Question, Solution
from mbt_lite.traces.kind import Kind, Messages, Words
from mbt_lite.traces.requests import monologue, rewriting_request


def trace_request(question: Question, words: Words, draft: Completion | None, guide: Solution | None) -> Messages:
    """Ask to rewrite a draft, after the guide, with the five phases."""
    return rewriting_request(question, draft, guide, "mbt_r", monologue=monologue(question, words))


KIND = Kind(
    name="mbt_r",
    drafter="student",
    wants_guide=True,
    trace_request=trace_request,
    prompt_names=("mbt_r", "monologue"),
    has_phases=True,
)
