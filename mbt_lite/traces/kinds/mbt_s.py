"""MBT-S: the teacher writes five phases from scratch."""

from __future__ import annotations

from mbt_lite import prompts
from mbt_lite.records import Completion, Question, Solution
from mbt_lite.traces.kind import Kind, Messages, Words
from mbt_lite.traces.requests import monologue, shown_with_gold


def trace_request(
    question: Question, words: Words, draft: Completion | None = None, guide: Solution | None = None
) -> Messages:
    """Ask for a monologue from scratch, so many words long."""
    request = prompts.render(
        prompts.named_for("mbt_s", question), monologue=monologue(question, words), **shown_with_gold(question)
    )
    return ({"role": "user", "content": request},)


KIND = Kind(name="mbt_s", trace_request=trace_request, prompt_names=("mbt_s", "monologue"), has_phases=True)
