"""Names in a text: how they are read, and how they are compared where spelling wavers."""

from __future__ import annotations

import functools
import re
import unicodedata

from mbt_lite.text.normalize import normalize

_CAPITAL = r"[A-Z0-9À-ÖØ-ÞĀ-Ž][\w'’.&-]*"
NAME = re.compile(rf"{_CAPITAL}(?:\s+(?:(?:of|the|and|de|von|van|del|la|le|du)\s+)*{_CAPITAL})*")
_POSSESSIVE = re.compile(r"['’][sS]\b|(?<=s)['’](?!\w)")
_BRACKETS = re.compile(r"\s*\([^)]*\)")
# where a full stop ends no sentence
ABBREVIATION = re.compile(
    r"(?:^|[\s(\"])(?:[A-Z]\.)+$|\b(?:St|Dr|Mr|Mrs|Ms|Jr|Sr|No|vs|ca?|Inc|Ltd|Co|Corp|Gen|Col)\.$"
)
_SENTENCE_END = re.compile(r"""(?<=[.!?])["')\]]?\s+(?=["'(]?[A-Z0-9])""")
# what may open a sentence and is no name
OPENERS = frozenset(
    re.findall(
        r"\w+",
        "a all also although an and are as at besides both but by did do does during for from had has have he her his "
        "how i if in is it its many most no not of on one or she since some such that the their there these they this "
        "to two was we were what when where which while who whose why with",
    )
)


@functools.lru_cache(maxsize=20_000)
def fold(text: str) -> str:
    """Give a text's words for comparison: normalised, and without accents and possessives, which come and go.

    >>> fold("The Tekezé River's!")
    'tekeze river'
    """
    decomposed = unicodedata.normalize("NFKD", _POSSESSIVE.sub("", text))
    return normalize("".join(c for c in decomposed if not unicodedata.combining(c)))


def has(text: str, words: str) -> bool:
    """Tell whether folded words stand in a folded text, whole and in order."""
    return bool(words) and f" {words} " in f" {text} "


def plain_title(title: str) -> str:
    """Drop a title's bracketed part: `Henry King (director)` is named `Henry King`."""
    return _BRACKETS.sub("", title).strip() or title


def split_sentences(text: str) -> list[str]:
    """Split a document into sentences, not after initials and common abbreviations."""
    sentences: list[str] = []
    for part in _SENTENCE_END.split(text):
        if sentences and ABBREVIATION.search(sentences[-1]):
            sentences[-1] += f" {part}"
        elif part.strip():
            sentences.append(part.strip())
    return sentences


def read_names(text: str) -> list[str]:
    """List the capitalised names of a sentence as they are written, without its opener."""
    names = []
    for match in NAME.finditer(text):
        words = match[0].rstrip(".'’-").split()
        while words and words[0].lower() in OPENERS:
            words = words[1:]
        if words:
            names.append(" ".join(words))
    return names
