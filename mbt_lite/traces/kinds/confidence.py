"""Confidence: the student's most frequent answer, right or wrong, with how often such answers are right."""

from __future__ import annotations

import dataclasses

from mbt_lite.records import Question
from mbt_lite.traces.confidence import confidence_rows
from mbt_lite.traces.kind import Kind, Messages
from mbt_lite.traces.requests import student_request


def plain_request(question: Question) -> Messages:
    """Ask for an answer alone: that is what the student that drafts has learned."""
    return student_request(dataclasses.replace(question, ask_for="answer"))


KIND = Kind(
    name="confidence",
    drafter="student",
    draft_request=plain_request,
    rows_of_drafts=confidence_rows,
    row_rule="line",
)
