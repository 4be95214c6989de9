"""Where a gold stands in a text, in the text's own letters: what the trace browser highlights.

The rule is the reward law's (whole-word sequences of the normalised form; golds shorter than three characters are no
mentions); here it also remembers where each word came from. A think or answer tag counts as white space, so that the
answer is highlighted too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mbt_lite.rewards.mentions import contains_words, mentionable
from mbt_lite.text.normalize import normalize, words

_TAG = re.compile(r"</?(?:think|answer)>")


def located_words(text: str) -> list[tuple[str, int, int]]:
    """Give the normalised words of a text with the start and end of the white-space chunk each stands in.

    The words are those of `words`: normalisation never looks across white space.

    >>> located_words("<answer>the U.S. Navy</answer>")
    [('us', 12, 16), ('navy', 17, 21)]
    """
    untagged = without_tags(text)
    return [(word, chunk.start(), chunk.end()) for chunk in re.finditer(r"\S+", untagged) for word in words(chunk[0])]


def without_tags(text: str) -> str:
    """Put spaces where tags stand; every other character keeps its place."""
    return _TAG.sub(lambda tag: " " * len(tag[0]), text)


def mention_spans(text: str, golds: Sequence[str]) -> list[tuple[int, int]]:
    """Give start and end of each mention of a gold, in order, without overlaps; the longest wins where two begin.

    >>> mention_spans("So Paris; yes, paris.", ["Paris"])
    [(3, 8), (15, 20)]
    """
    normal = normalize(without_tags(text))
    mentioned = {tuple(gold.split()) for gold in mentionable(golds) if contains_words(normal, gold)}
    if not mentioned:
        return []
    wanted = sorted(mentioned, key=len, reverse=True)
    located = located_words(text)
    found = [word for word, _, _ in located]
    spans: list[tuple[int, int]] = []
    position = 0
    while position < len(found):
        gold = next((gold for gold in wanted if tuple(found[position : position + len(gold)]) == gold), None)
        if gold is None:
            position += 1
            continue
        start, end = _without_edges(text, located[position][1], located[position + len(gold) - 1][2])
        # two words of one chunk can give the same span twice
        if not spans or start >= spans[-1][1]:
            spans.append((start, end))
        position += len(gold)
    return spans


def _without_edges(text: str, start: int, end: int) -> tuple[int, int]:
    """Leave quotes, brackets and full stops around a mention out of the highlight."""
    letters = [index for index in range(start, end) if text[index].isalnum()]
    return (letters[0], letters[-1] + 1) if letters else (start, end)


def segments(text: str, golds: Sequence[str]) -> list[str]:
    """Cut a text at its mentions: every second segment, from the second on, is a mention.

    Joined, the segments are the text.

    >>> segments("So Paris.", ["Paris"])
    ['So ', 'Paris', '.']
    """
    parts, end = [], 0
    for start, stop in mention_spans(text, golds):
        parts += [text[end:start], text[start:stop]]
        end = stop
    return [*parts, text[end:]]
