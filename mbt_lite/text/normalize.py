"""Answer normalisation: the one form in which answers, golds and traces are compared.

Source: the normalisation shared by the scorers of SQuAD, HotpotQA, MuSiQue and 2WikiMultihopQA. Lower-case, drop ASCII
punctuation, drop the articles a/an/the, collapse white space; in this order, and without Unicode normalisation.
"""

from __future__ import annotations

import functools
import re
import string

_PUNCTUATION = str.maketrans("", "", string.punctuation)
# \b(?:a|an|the)\b, told by its first letter: a search for letters skips the rest of the text
_ARTICLE = re.compile(r"(?:a(?<!\w\w)n?|t(?<!\w\w)he)\b")


# a trace is asked for its words by one function after the other
@functools.lru_cache(maxsize=256)
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
