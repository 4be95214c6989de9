"""Distill-R, a control: the teacher rewrites the student's drafts without the phases."""

from __future__ import annotations

from mbt_lite.records import Completion, Question, Solution
from mbt_lite.traces.kind import Kind, Messages, Words
from mbt_lite.traces.requests import rewriting_request, words_range


def trace_request(question: Question, words: Words, draft: Completion | None, guide: Solution | None) -> Messages:
    """Ask to rewrite a draft plainly, after the guide."""
    return rewriting_request(question, draft, guide, "distill_r", words=words_range(words))


KIND = Kind(
    name="distill_r", drafter="student", wants_guide=True, trace_request=trace_request, prompt_names=("distill_r",)
)
