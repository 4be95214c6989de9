"""Answer normalisation: the one form in which answers, golds, traces and cues are compared.

Source: the normalisation shared by the scorers of SQuAD, HotpotQA, MuSiQue and 2WikiMultihopQA. Lower-case, drop ASCII
punctuation, drop the articles a/an/the, collapse white space; in this order, and without Unicode normalisation.
"""

from __future__ import annotations

import re
import string

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


def normalize(text: str) -> str:
    """Give the form in which texts are compared: words separated by single spaces, "" if nothing is left.

    Punctuation is dropped, not replaced: "turn-of-the-century" is one word.

    >>> normalize("The  U.S. Navy, 1950-1953")
    'us navy 19501953'
    """
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def words(text: str) -> list[str]:
    """Give the words of a text: its normalised form split on spaces, [] if nothing is left.

    >>> words("A quick, brown fox.")
    ['quick', 'brown', 'fox']
    """
    return normalize(text).split()
