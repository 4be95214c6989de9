"""The quality gate: why a teacher's reply cannot become a training row.

A monologue has to end with the gold: in its last paragraph, where it verifies and concludes. One that names the gold on
its way and concludes otherwise, followed by the gold as answer, would teach the very error that this method mends.
"""

from __future__ import annotations

import re

from mbt_lite.records import Question
from mbt_lite.rewards.mentions import contains_words
from mbt_lite.text.normalize import normalize
from mbt_lite.text.paragraphs import paragraphs

TAGS = ("<think", "</think", "<answer", "</answer", "<|")
# A number with a dot opens a list only if it is short: a sentence may end with a year and begin with one.
MARKDOWN = re.compile(r"^\s*(#{1,6} |[-*+•] |\d{1,2}[.)] |```)|\*\*", re.MULTILINE)
# What only someone who was shown the result, or a draft, would write.
REVEALS = re.compile(
    r"\b(the draft|(given|provided|correct|gold|reference) answer|solution guide|the guide"
    r"|answer (was|is) (given|provided))\b",
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
        return "truncated" if finish_reason == "length" else f"finish reason {finish_reason}"
    if not text.strip():
        return "empty"
    if any(tag in text for tag in TAGS):
        return "holds tags"
    if MARKDOWN.search(text):
        return "markdown"
    if _reveals(text, question):
        return "reveals that the answer was given"
    if not _concludes(text, question.answer):
        return "does not reach the gold"
    return None


def _reveals(text: str, question: Question) -> bool:
    """Tell whether the text speaks of what only its writer was shown; words of the documents (a player draft) may."""
    shown = normalize(" ".join([question.question, *(document.text for document in question.documents)]))
    return any(not contains_words(shown, normalize(match[0])) for match in REVEALS.finditer(text))


def _concludes(text: str, gold: str) -> bool:
    """Tell whether the last paragraph holds the gold."""
    conclusion, words = paragraphs(text)[-1], normalize(gold)
    if words in WHOLE_ANSWERS:
        return True
    # a gold of articles or signs alone has no normalised words
    return contains_words(normalize(conclusion), words) if words else gold.strip() in conclusion
