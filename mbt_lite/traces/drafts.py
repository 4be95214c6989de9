"""Drafts: reading the trace and answer of a completion that may become a training row, and pass rates per question.

1. A completion that closes a think block it never opened began inside it: the chat template had opened it. That is read
   from the text, because an endpoint does not show its template.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from typing import Any

from mbt_lite.records import Completion, Question
from mbt_lite.rewards.terms import exact_term
from mbt_lite.text.completion import THINK_CLOSE, THINK_OPEN, ParsedCompletion, parse_completion


def parse_draft(text: str) -> ParsedCompletion:
    """Read a draft, opened by the template or by itself.

    >>> parse_draft("2 + 2</think><answer>four</answer>").trace
    '2 + 2'
    """
    return parse_completion(text, prefilled_think=is_opened_by_template(text))


def is_opened_by_template(text: str) -> bool:
    """Tell whether a draft began inside its think block."""
    return THINK_OPEN not in text and THINK_CLOSE in text


def is_correct(draft: Completion, question: Question) -> bool:
    """Tell whether a draft stopped by itself and its answer is an exact match."""
    assert draft.question_id == question.question_id, (draft.question_id, question.question_id)
    return draft.finish_reason == "stop" and exact_term(parse_draft(draft.text).answer, question.golds) == 1.0


def pass_rates(drafts: Iterable[Completion], questions: Mapping[str, Question]) -> list[dict[str, Any]]:
    """Count per question: rollouts, valid ones (stopped by themselves), correct ones (valid and an exact match)."""
    by_question: dict[str, list[Completion]] = collections.defaultdict(list)
    for draft in drafts:
        by_question[draft.question_id].append(draft)
    return [
        {
            "question_id": question_id,
            "rollouts": len(rollouts),
            "valid": sum(draft.finish_reason == "stop" for draft in rollouts),
            "correct": sum(is_correct(draft, questions[question_id]) for draft in rollouts),
        }
        for question_id, rollouts in sorted(by_question.items())
    ]
