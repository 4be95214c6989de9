"""What the trace browser colours in a completion: golds, the phases of paragraphs, what is said again, tags.

The rules of golds and repeats are the reward law's, on whole words in normalised form; here every word also remembers
where it stands, so that a text is shown in its own letters. Where the two differ:

1. Golds are marked in the answer too, the first mention only within the trace (that is what `answer_hit` reads).
2. A paragraph is called repeated where at least half of its words stand in word 4-grams that occurred earlier in the
   trace: a stand-in by rule, no judge's verdict.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mbt_lite.records import PhaseSpan
from mbt_lite.rewards.mentions import mentionable, number_mentions
from mbt_lite.rewards.terms import NGRAM_WORDS
from mbt_lite.text.completion import trace_span
from mbt_lite.text.normalize import words
from mbt_lite.text.paragraphs import paragraph_spans
from mbt_lite.text.phases import PHASES

# bits of a piece's flag; report.js reads them by the same names
GOLD, FIRST, REPEATED, TAG = 1, 2, 4, 8

REPEATED_SHARE = 0.5

_TAG = re.compile(r"</?(?:think|answer)>")

Span = tuple[int, int]


class Word(NamedTuple):
    """A normalised word with start and end of the white-space chunk it stands in."""

    text: str
    start: int
    end: int


@dataclasses.dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph from `start` to `end` in the text.

    `number` counts the trace's paragraphs from 1, as a judge sees them; None outside. `phases` are indices into PHASES,
    `pieces` are (start, end, flag).
    """

    start: int
    end: int
    number: int | None
    phases: tuple[int, ...]
    is_repeated: bool
    pieces: tuple[tuple[int, int, int], ...]


def located_words(text: str) -> list[Word]:
    """Give the normalised words of a text with their places; a tag counts as white space.

    The words are those of `words`: normalisation never looks across white space.

    >>> [word.text for word in located_words("<answer>the U.S. Navy</answer>")]
    ['us', 'navy']
    """
    chunks = re.finditer(r"\S+", without_tags(text))
    return [Word(word, chunk.start(), chunk.end()) for chunk in chunks for word in _words(chunk[0])]


@functools.lru_cache(maxsize=100_000)
def _words(chunk: str) -> tuple[str, ...]:
    return tuple(words(chunk))


def without_tags(text: str) -> str:
    """Put spaces where tags stand; every other character keeps its place."""
    return _TAG.sub(lambda tag: " " * len(tag[0]), text)


def occurrences(located: Sequence[Word], sequences: Iterable[str]) -> list[Span]:
    """Give first and last word index of each occurrence of normalised sequences; no two overlap, the longest wins.

    >>> occurrences(located_words("so New York, yes, new york city"), ["new york", "new york city"])
    [(1, 2), (4, 6)]
    """
    by_head = _by_head(tuple(sequences))
    texts = [word.text for word in located]
    found: list[Span] = []
    free = 0
    for position in [position for position, text in enumerate(texts) if text in by_head]:
        length = next((len(s) for s in by_head[texts[position]] if texts[position : position + len(s)] == s), 0)
        if length and position >= free:
            free = position + length
            found.append((position, free - 1))
    return found


@functools.lru_cache(maxsize=1_000)
def _by_head(sequences: tuple[str, ...]) -> dict[str, list[list[str]]]:
    """Give first word -> the sequences that begin with it, the longest first."""
    by_head: dict[str, list[list[str]]] = {}
    for sequence in sorted({tuple(sequence.split()) for sequence in sequences}, key=lambda s: (-len(s), s)):
        by_head.setdefault(sequence[0], []).append(list(sequence))
    return by_head


def repeated_words(located: Sequence[Word]) -> list[bool]:
    """Tell of each word whether it stands in a word 4-gram that occurred earlier.

    >>> repeated_words(located_words("we look again we look again we")).count(True)
    4
    """
    texts = [word.text for word in located]
    flags = [False] * len(texts)
    seen: set[tuple[str, ...]] = set()
    for position, ngram in enumerate(zip(*(texts[shift:] for shift in range(NGRAM_WORDS)), strict=False)):
        if ngram in seen:
            flags[position : position + NGRAM_WORDS] = [True] * NGRAM_WORDS
        seen.add(ngram)
    return flags


def mark(
    text: str, golds: Sequence[str], phases: Iterable[PhaseSpan] = (), *, prefilled_think: bool
) -> list[Paragraph]:
    """Cut a completion into paragraphs and those into pieces `(start, end, flag)` that cover them."""
    located = located_words(text)
    start, end = trace_span(text, prefilled_think=prefilled_think) or (0, 0)
    trace = [word for word in located if start <= word.start < end]
    repeated = repeated_words(trace)
    in_words = _spans(text, located, occurrences(located, mentionable(golds)))
    mentions = _merged(sorted([*in_words, *number_mentions(text, golds)]))
    first = [mention for mention in mentions if start <= mention[0] < end][:1]
    edges = _edges(
        text,
        {GOLD: mentions, FIRST: first, REPEATED: _runs(trace, repeated), TAG: [t.span() for t in _TAG.finditer(text)]},
    )
    places = [word.start for word in trace]
    again = [word.start for word, flag in zip(trace, repeated, strict=True) if flag]
    shown = [(PHASES.index(span.phase), span.start, span.end) for span in phases]
    spans = list(paragraph_spans(text))
    numbers = _trace_numbers(text, spans, start, end)
    return [
        Paragraph(
            *span,
            number=number,
            phases=tuple(dict.fromkeys(phase for phase, left, right in shown if left < span[1] and span[0] < right)),
            is_repeated=_count(again, span) >= max(1, REPEATED_SHARE * _count(places, span)),
            pieces=tuple(_pieces(edges, *span)),
        )
        for span, number in zip(spans, numbers, strict=True)
    ]


def _trace_numbers(text: str, spans: Sequence[Span], start: int, end: int) -> list[int | None]:
    """Number the paragraphs that have a part in the trace from `start` to `end`."""
    inside = [bool(text[max(left, start) : min(right, end)].strip()) for left, right in spans]
    counted = itertools.accumulate(inside)
    return [number if is_inside else None for is_inside, number in zip(inside, counted, strict=True)]


def _count(places: Sequence[int], span: Span) -> int:
    """Count the places (in order) within a span."""
    return bisect.bisect_left(places, span[1]) - bisect.bisect_left(places, span[0])


def _spans(text: str, located: Sequence[Word], found: Iterable[Span]) -> list[Span]:
    """Turn word indices into character spans that leave quotes, brackets and full stops at the edges out."""
    spans = []
    for first, last in found:
        start, end = located[first].start, located[last].end
        letters = [index for index in range(start, end) if text[index].isalnum()]
        spans.append((letters[0], letters[-1] + 1) if letters else (start, end))
    return _merged(spans)


def _runs(located: Sequence[Word], flags: Sequence[bool]) -> list[Span]:
    """Give the character span of each unbroken run of flagged words."""
    runs = []
    for flag, group in itertools.groupby(zip(located, flags, strict=True), key=lambda pair: pair[1]):
        if flag:
            run = [word for word, _ in group]
            runs.append((run[0].start, run[-1].end))
    return _merged(runs)


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Join spans that overlap: several words can stand in one chunk of text."""
    merged: list[Span] = []
    for start, end in spans:
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _edges(text: str, flagged: Mapping[int, Sequence[Span]]) -> list[Span]:
    """Give the places where the flag changes, with the flag from there on; spans of one flag never overlap."""
    toggles: dict[int, int] = {0: 0, len(text): 0}
    for flag, spans in flagged.items():
        for place in itertools.chain.from_iterable(spans):
            toggles[place] = toggles.get(place, 0) ^ flag
    places = sorted(toggles)
    return list(zip(places, itertools.accumulate((toggles[place] for place in places), operator.xor), strict=True))


def _pieces(edges: Sequence[Span], start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Give the pieces of one flag between two places."""
    first = bisect.bisect_right(edges, start, key=lambda edge: edge[0]) - 1
    for (left, flag), (right, _) in itertools.pairwise(edges[first:]):
        if left >= end:
            break
        yield max(left, start), min(right, end), flag
