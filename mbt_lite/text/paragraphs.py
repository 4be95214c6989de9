"""Paragraphs and sentences of a trace: the units in which reach and redundancy are counted.

Source: the Reach-Redundancy Profile of arXiv 2602.22508 v2 (marks paragraphs, counts sentences). Where we differ:

1. A sentence ends at . ! ? only where white space follows, so that 3.14 stays whole; abbreviations still split.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

_BLANK_LINE = re.compile(r"\n\s*\n")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def paragraphs(text: str) -> list[str]:
    r"""Split a text on blank lines; paragraphs are stripped, empty ones left out.

    >>> paragraphs("We ask.\n\n  We plan.\nThen we go.\n")
    ['We ask.', 'We plan.\nThen we go.']
    """
    return [text[start:end] for start, end in paragraph_spans(text)]


def paragraph_spans(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    r"""Give where each paragraph begins and ends in the text, or in its part from `start` to `end`.

    >>> list(paragraph_spans("We ask.\n\n  We plan.\n"))
    [(0, 7), (11, 19)]
    """
    end = len(text) if end is None else end
    breaks = [(start, start), *(gap.span() for gap in _BLANK_LINE.finditer(text, start, end)), (end, end)]
    for (_, left), (right, _) in itertools.pairwise(breaks):
        part = text[left:right]
        if part.strip():
            yield left + len(part) - len(part.lstrip()), left + len(part.rstrip())


def sentences(text: str) -> list[str]:
    """Split a text after . ! ? and white space; sentences are stripped, empty ones left out.

    >>> sentences("Is it 3.14? Yes. So we stop")
    ['Is it 3.14?', 'Yes.', 'So we stop']
    """
    return [part for part in _SENTENCE_END.split(text.strip()) if part]


def beginnings(text: str) -> list[str]:
    r"""Give the beginnings of a text that end where a sentence does; the last is the whole text, stripped.

    >>> beginnings("We ask. Is it 3.14?\n\nYes")
    ['We ask.', 'We ask. Is it 3.14?', 'We ask. Is it 3.14?\n\nYes']
    """
    whole = text.strip()
    return [whole[: end.start()] for end in _SENTENCE_END.finditer(whole)] + [whole]
