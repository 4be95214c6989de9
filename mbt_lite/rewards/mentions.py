"""Where a text mentions a gold: shared by the terms `keep` and `dwell` and the metric `answer_hit`.

A mention is a whole-word sequence in normalised form (see text/normalize.py). A gold shorter than three characters is
never a mention; the length is the normalised form's, since "U.S." becomes "us", which any "let us see" would contain.
Neither is "yes", as "no" is too short to be one: a trace that asks "yes or no?" has derived neither. A gold that is
marked as a number is mentioned by numbers of its value, whatever their sign: `180.0` mentions 180, not 1800.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mbt_lite.text.normalize import normalize, words
from mbt_lite.text.numbers import is_number_gold, number_in, numbers_in

SHORTEST_MENTION_CHARACTERS = 3
_VERDICTS = ("yes", "no")


def contains_words(text: str, sequence: str) -> bool:
    """Tell whether `sequence` stands in `text` as whole words; both are normalised already, `sequence` is not empty.

    >>> contains_words("we live in new york", "new york"), contains_words("we live in newark", "new")
    (True, False)
    """
    # Normalised words hold no spaces, so padding both with one makes a substring a whole-word sequence.
    return f" {sequence} " in f" {text} "


def words_through_first_mention(text: str, golds: Sequence[str]) -> int | None:
    """Count the words of a text up to and including the first mention of any gold; None without a mention.

    The first mention is the one that is complete first: another alias can only bring it forward.

    >>> words_through_first_mention("So it is Paris, not Rome.", ["Rome", "Paris"])
    4
    """
    padded = f" {normalize(text)} "
    ends = [len(words(text[:end])) for _, end in number_mentions(text, golds)[:1]]
    for gold in mentionable(golds):
        start = padded.find(f" {gold} ")
        if start >= 0:
            ends.append(padded.count(" ", 0, start + 1 + len(gold)))
    return min(ends, default=None)


def number_mentions(text: str, golds: Iterable[str]) -> list[tuple[int, int]]:
    """Give where a text mentions golds that are marked as numbers: beginnings and ends.

    >>> number_mentions("$18.00 a day, so 1,800", ["#### 1800"])
    [(17, 22)]
    """
    marked = [gold for gold in golds if is_number_gold(gold) and is_mentionable(normalize(gold))]
    values = {abs(value) for gold in marked if (value := number_in(gold)) is not None}
    return [(start, end) for value, start, end in numbers_in(text) if abs(value) in values] if values else []


def mentionable(golds: Iterable[str]) -> list[str]:
    """Give the normalised forms of the golds that can be mentioned as words.

    >>> mentionable(["The Beatles", "US", "A", "Yes"])
    ['beatles']
    """
    return [form for gold in golds if not is_number_gold(gold) and is_mentionable(form := normalize(gold))]


def is_mentionable(gold: str) -> bool:
    """Tell whether a normalised gold says enough for its words in a trace to be a mention."""
    return len(gold) >= SHORTEST_MENTION_CHARACTERS and gold not in _VERDICTS
