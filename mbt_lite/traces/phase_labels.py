"""Phases by structure: the label lines of a teacher's reply, or the order of its paragraphs, become spans.

The prompts ask for a label such as `[plan]` on a line of its own before each part, in the order understand, plan,
(execute | correct)+, verify. Labels are taken off the text, which is what the student learns. How models follow:

1. Where at least two phases are labelled in brackets, only such lines count. Else headings, bold words, `Plan:` and
   `Phase 2: Planning` count, also with words after them, if they name at least three: one may be a sentence's own.
2. A reply without labels is read by the order of its paragraphs, at least four: the first understands, the second
   plans, the last verifies; of those between, the last corrects if there are two or more, the others execute.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mbt_lite.records import PhaseSpan
from mbt_lite.text.paragraphs import paragraphs
from mbt_lite.text.phases import PHASES

FEWEST_PARAGRAPHS = 4
# Executing and correcting may alternate.
_RANKS = dict(zip(PHASES, (0, 1, 2, 2, 3), strict=True))

_AND = r"(?:[ _]*(?:and|&|/|,|_| )[ _]*)"
_NAMES = {
    "understand_filter": rf"understand(?:ing)?(?:{_AND}filter(?:ing)?)?",
    "plan": r"plan(?:ning)?",
    "execute_monitor": rf"execut(?:e|ion|ing)(?:{_AND}monitor(?:ing)?)?",
    "self_correct": r"(?:self[-_ ]?)?correct(?:ion|ing)?",
    "verify": r"verif(?:y|ication|ying)",
}
_NAME = "|".join(f"(?P<{phase}>{name})" for phase, name in _NAMES.items())
_BRACKETED = re.compile(rf"^\W*\[\W*(?:{_NAME})(?:[ _]\d+)?\W*\][*_:. \t]*(?P<rest>.*)$", re.IGNORECASE)
_LABELLED = re.compile(
    r"^[\s#>*_+•\[(<-]*(?:\d{1,2}[.)][\s*_]*)?(?:(?:phase|step|part)\s*\d*\s*[:.–—-]*\s*)?"
    rf"(?:{_NAME})(?:\s+(?:phase|step))?(?:\s+\d+)?"
    r"(?:[*_\])>#\s]*|(?P<end>[*_\s]*[:\])>][*_\])>\s]*|[*_]{2,}:?\s+|\s+[–—-]+\s+)(?P<rest>\S.*))$",
    re.IGNORECASE,
)
_LEFT_OVER = re.compile(r"^[ \t]*\[[^\]\n\d]{1,40}\][ \t]*$|\bUNSUPPORTED\b", re.MULTILINE)


def split_labels(reply: str) -> tuple[str, list[tuple[str, str]]]:
    r"""Split a reply at its labels: what stands before them, then phase and words of each part.

    >>> split_labels("[plan]\nWe look for her.\n\n[verify]\nIt is she.")
    ('', [('plan', 'We look for her.'), ('verify', 'It is she.')])
    """
    lines = reply.splitlines()
    labels: list[_Label | None] = []
    for pattern, fewest in ((_BRACKETED, 2), (_LABELLED, 3)):
        labels = [_read_label(pattern, line) for line in lines]
        if len({label.phase for label in labels if label}) >= fewest:
            break
    else:
        return reply.strip(), []
    before: list[str] = []
    parts: list[tuple[str, list[str]]] = []
    for line, label in zip(lines, labels, strict=True):
        if label is not None:
            parts.append((label.phase, [label.words]))
        else:
            (parts[-1][1] if parts else before).append(line)
    return "\n".join(before).strip(), [(phase, "\n".join(held).strip()) for phase, held in parts]


class _Label(NamedTuple):
    """A label line: its phase, and the words after it on the same line."""

    phase: str
    words: str


def _read_label(pattern: re.Pattern[str], line: str) -> _Label | None:
    found = pattern.match(line)
    if found is None:
        return None
    return _Label(next(phase for phase in PHASES if found[phase] is not None), found["rest"] or "")


def join_phases(parts: Iterable[tuple[str, str]]) -> tuple[str, tuple[PhaseSpan, ...]]:
    """Join the words of phases with blank lines, and say where each stands; a part without words is no phase."""
    text, spans = "", list[PhaseSpan]()
    for phase, words in parts:
        if words:
            text += "\n\n" if text else ""
            spans.append(PhaseSpan(phase, len(text), len(text) + len(words)))
            text += words
    return text, tuple(spans)


def phases_by_order(text: str) -> tuple[PhaseSpan, ...]:
    """Take the paragraphs of a text for the phases, by their order; none where they are fewer than four."""
    count = len(paragraphs(text))
    if count < FEWEST_PARAGRAPHS:
        return ()
    between = count - 3
    middle = ["execute_monitor"] * between if between == 1 else ["execute_monitor"] * (between - 1) + ["self_correct"]
    named = zip(("understand_filter", "plan", *middle, "verify"), paragraphs(text), strict=True)
    spans, end = [], 0
    for phase, paragraph in named:
        start = text.index(paragraph, end)
        end = start + len(paragraph)
        spans.append(PhaseSpan(phase, start, end))
    return tuple(spans)


def are_in_order(phases: Iterable[PhaseSpan]) -> bool:
    """Tell whether phases follow understand, plan, (execute | correct), verify; any may be left out or come again."""
    ranks = [_RANKS[span.phase] for span in phases]
    return ranks == sorted(ranks)


def has_other_labels(text: str) -> bool:
    """Tell whether a line is left that only labels: any word in brackets, or a phase without words; or UNSUPPORTED."""
    lone = (_LABELLED.match(line) for line in text.splitlines())
    return _LEFT_OVER.search(text) is not None or any(label and not label["rest"] for label in lone)
