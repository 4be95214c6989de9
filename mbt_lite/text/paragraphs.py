"""Paragraphs and sentences of a trace: the units in which reach and redundancy are counted.

Source: the Reach-Redundancy Profile of arXiv 2602.22508 v2 (marks paragraphs, counts sentences). Where we differ:

1. A sentence ends at . ! ? only where white space follows, so that 3.14 stays whole; abbreviations still split.
"""

from __future__ import annotations

import re

_BLANK_LINE = re.compile(r"\n\s*\n")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def paragraphs(text: str) -> list[str]:
    r"""Split a text on blank lines; paragraphs are stripped, empty ones left out.

    >>> paragraphs("We ask.\n\n  We plan.\nThen we go.\n")
    ['We ask.', 'We plan.\nThen we go.']
    """
    return [stripped for part in _BLANK_LINE.split(text) if (stripped := part.strip())]


def sentences(text: str) -> list[str]:
    """Split a text after . ! ? and white space; sentences are stripped, empty ones left out.

    >>> sentences("Is it 3.14? Yes. So we stop")
    ['Is it 3.14?', 'Yes.', 'So we stop']
    """
    return [part for part in _SENTENCE_END.split(text.strip()) if part]
