"""The quality gate: why a teacher's reply cannot become a training row."""

from __future__ import annotations

import re

from mbt_lite.records import Question
from mbt_lite.rewards.mentions import contains_words
from mbt_lite.text.normalize import normalize

TAGS = ("<think", "</think", "<answer", "</answer", "<|")
MARKDOWN = re.compile(r"^\s*(#{1,6} |[-*] |\d+\. |```)|\*\*", re.MULTILINE)
# What only someone who was shown the result, or a draft, would write.
REVEALS = re.compile(
    r"\b(the draft|(given|provided|correct|gold|reference) answer|solution guide|the guide|answer (was|is) (given|provided))\b",
    re.IGNORECASE,
)
WHOLE_ANSWERS = frozenset({"yes", "no"})


def rejection(text: str, finish_reason: str, question: Question) -> str | None:
    """Give the first reason to reject a monologue, or None.

    yes and no are not searched for in the text: a monologue need not say them.
    """
    if finish_reason == "refused":
        return "refused"
    if finish_reason != "stop":
        return "truncated"
    if not text.strip():
        return "empty"
    if any(tag in text for tag in TAGS):
        return "holds tags"
    if MARKDOWN.search(text):
        return "markdown"
    if REVEALS.search(text):
        return "reveals that the answer was given"
    if normalize(question.answer) not in WHOLE_ANSWERS and not contains_words(normalize(text), normalize(question.answer)):
        return "does not reach the gold"
    return None
