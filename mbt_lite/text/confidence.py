"""How sure a completion says it is: the last line of its trace, `Confidence: 85`, in whole per cent.

It stands inside the think block, so that what reads answers needs not know of it. The form is ours.
"""

from __future__ import annotations

import re

_LINE = re.compile(r"Confidence: (100|[1-9]?\d)\.?", re.ASCII)
# tags and marks may stand before the word and behind it
_ANY_LINE = re.compile(
    r"^(?:<[^>\n]*>|[^\w\n<])*confidence\b(?: level| score)?(?: is)?[^\w\n]*\d", re.ASCII | re.I | re.M
)


def read_confidence(trace: str | None) -> int | None:
    r"""Read what the last line of a trace states, 0..100; None where it says anything else, or anything more.

    >>> read_confidence("Ann Lee studied at Homer Academy.\nConfidence: 85\n")
    85
    >>> read_confidence("Confidence: 85\nAnn Lee studied at Homer Academy.")
    """
    line = re.split(r"[\r\n]", (trace or "").rstrip())[-1]
    found = _LINE.fullmatch(line)
    return None if found is None else int(found[1])


def mentions_confidence(text: str) -> bool:
    r"""Tell whether a line begins by stating a confidence, in whatever form, wherever it stands.

    >>> mentions_confidence("It is Oslo.\n**Confidence**: 100 %"), mentions_confidence("I have no confidence in 85.")
    (True, False)
    """
    return _ANY_LINE.search(text) is not None


def confidence_line(per_cent: int) -> str:
    """Write the line that `read_confidence` reads.

    >>> confidence_line(7)
    'Confidence: 7'
    """
    assert 0 <= per_cent <= 100, per_cent
    return f"Confidence: {per_cent}"
