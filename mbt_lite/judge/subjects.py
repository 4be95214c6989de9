"""What is judged: one completion with what a judge must know of its question, and the requests about it.

Source: the judged measures of arXiv 2602.22508 (v1: accuracy, answer hit, over- and underthinking, metacognition; v2:
reach and redundancy, quality by tier). Where we differ:

1. All wording and the verdict formats are our own. A verdict begins with a reason, so that a judge thinks first.
2. As evidence a judge sees the supporting documents, under the numbers that the trace knows them by, not a guide.
3. What needs no judge is not asked: without an answer nothing was attempted; without a trace nothing is hit and no
   phase is shown, and there is nothing of which a beginning or a paragraph could be named.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

from mbt_lite import prompts
from mbt_lite.metrics.breakdown import tier
from mbt_lite.recipe.schema import JudgeMeasure
from mbt_lite.records import Message, Prediction, Question
from mbt_lite.text.completion import parse_completion
from mbt_lite.text.paragraphs import paragraphs

Kind = Literal["accuracy", "hit", "overthinking", "underthinking", "metacognition", "reach", "quality"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# Asked in the first round, of every completion; over- or underthinking follows from the verdict on accuracy.
FIRST_ROUND: Mapping[JudgeMeasure, Kind] = {
    "accuracy": "accuracy",
    "hit": "hit",
    "metacognition": "metacognition",
    "reach": "reach",
    "quality": "quality",
}

Verdict = dict[str, Any]

BY_RULE_WITHOUT_TRACE: Mapping[Kind, Verdict] = {
    "hit": {"hit": False},
    "metacognition": {"score": 0},
    "quality": {"phases": [], "level": 0},
}


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """One completion as a judge sees it; `trace` is stripped, None if there is none or only white space."""

    question: str
    golds: tuple[str, ...]
    evidence: str
    tier: str
    answer: str | None
    trace: str | None

    @property
    def paragraphs(self) -> list[str]:
        """The paragraphs of the trace, in the order of their numbers."""
        return paragraphs(self.trace or "")


def make_subject(question: Question, prediction: Prediction, *, prefilled_think: bool) -> Subject:
    """Take from a question and its completion what is judged."""
    trace = parse_completion(prediction.text, prefilled_think=prefilled_think).trace
    return Subject(
        question=question.question,
        golds=question.accepted,
        evidence=_evidence(question),
        tier=tier(question) or "not known",
        answer=prediction.answer,
        trace=(trace or "").strip() or None,
    )


def _evidence(question: Question) -> str:
    lines = prompts.number_documents(question.documents).split("\n")
    supporting = [line for line, doc in zip(lines, question.documents, strict=False) if doc.is_supporting]
    unknown = all(document.is_supporting is None for document in question.documents)
    return "\n".join(lines if unknown else supporting).strip() or "(none)"


def verdict_by_rule(kind: Kind, subject: Subject) -> Verdict | None:
    """Give the verdict that needs no judge, None if one must be asked.

    >>> verdict_by_rule("accuracy", Subject("Who?", ("Ann",), "", "easy", answer=None, trace=None))
    {'verdict': 'not attempted'}
    """
    if kind == "accuracy":
        return {"verdict": "not attempted"} if not (subject.answer or "").strip() else None
    return dict(BY_RULE_WITHOUT_TRACE[kind]) if subject.trace is None and kind in BY_RULE_WITHOUT_TRACE else None


def applies(kind: Kind, subject: Subject) -> bool:
    """Tell whether there is anything to judge, by rule or by a judge."""
    return kind == "accuracy" or kind in BY_RULE_WITHOUT_TRACE or subject.trace is not None


def messages(kind: Kind, subject: Subject) -> tuple[Message, ...]:
    """Write the request of one kind about a completion."""
    values = {
        "question": prompts.one_line(subject.question),
        "answers": "\n".join(f"- {prompts.one_line(gold)}" for gold in subject.golds),
        "evidence": subject.evidence,
        "tier": subject.tier,
        "given": prompts.one_line(subject.answer or ""),
        "trace": subject.trace or "",
        "count": str(len(subject.paragraphs)),
    }
    if kind == "reach":
        values["trace"] = with_markers(subject.paragraphs)
    content = prompts.render(f"judge_{kind}", **{slot: values[slot] for slot in SLOTS[kind]})
    return ({"role": "user", "content": content},)


SLOTS: Mapping[Kind, tuple[str, ...]] = {
    "accuracy": ("question", "answers", "given"),
    "hit": ("question", "answers", "evidence", "trace"),
    "overthinking": ("question", "answers", "evidence", "trace"),
    "underthinking": ("question", "answers", "evidence", "trace"),
    "metacognition": ("question", "trace"),
    "reach": ("question", "answers", "evidence", "trace", "count"),
    "quality": ("question", "tier", "evidence", "trace"),
}


def with_markers(parts: list[str]) -> str:
    r"""Put a marker after each paragraph but the last.

    >>> with_markers(["We ask.", "So Rome."])
    'We ask.\n[end of paragraph 1]\n\nSo Rome.'
    """
    marked = [f"{part}\n[end of paragraph {number}]" for number, part in enumerate(parts[:-1], 1)]
    return "\n\n".join([*marked, *parts[-1:]])
