"""Trimming: drop distractor documents until a prompt fits, because no trainer trims prompts any more.

Distractors go from the end of the list and the order of the rest stays. Supporting documents and the question are never
touched. Where nothing is marked as supporting any document may go, but the first stays: a question keeps something to
read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from mbt_lite.errors import DataError
from mbt_lite.records import Question


@dataclasses.dataclass(frozen=True, slots=True)
class Trimmed:
    """A question that fits, and how many documents that cost; `question` is None if nothing more may go."""

    question: Question | None
    dropped: int


@dataclasses.dataclass(frozen=True, slots=True)
class Fitted:
    """Questions whose prompts fit, how many of them lost documents, how many documents; and those that cannot fit."""

    questions: tuple[Question, ...]
    n_trimmed: int
    n_dropped: int
    too_long: tuple[Question, ...]


def trim_questions(
    questions: Sequence[Question], max_tokens: int, count_tokens: Callable[[Question], int], path: str
) -> Fitted:
    """Trim each question (see `trim_question`); DataError, naming the `path` they were read from, if none fits."""
    trimmed = [trim_question(question, max_tokens, count_tokens) for question in questions]
    kept = [found for found in trimmed if found.question is not None]
    if not kept:
        raise DataError(f"{path}: no question fits into `data.max_prompt_tokens` (got {max_tokens}); raise it")
    return Fitted(
        questions=tuple(found.question for found in kept if found.question is not None),
        n_trimmed=sum(found.dropped > 0 for found in kept),
        n_dropped=sum(found.dropped for found in kept),
        too_long=tuple(q for q, found in zip(questions, trimmed, strict=True) if found.question is None),
    )


def trim_question(question: Question, max_tokens: int, count_tokens: Callable[[Question], int]) -> Trimmed:
    """Drop as few distractors as it takes for `count_tokens` to be at most `max_tokens`.

    `count_tokens` must not grow when a document goes: the number kept is found by bisection, in about log2(documents)
    counts.
    """
    if count_tokens(question) <= max_tokens:
        return Trimmed(question, 0)
    places = _droppable(question)
    # Invariant: keeping `fits` distractors fits (-1: unknown), keeping `too_many` does not.
    fits, too_many = -1, len(places)
    while too_many - fits > 1:
        kept = (fits + too_many) // 2
        if count_tokens(_without(question, places[kept:])) <= max_tokens:
            fits = kept
        else:
            too_many = kept
    if fits < 0:
        return Trimmed(None, len(places))
    return Trimmed(_without(question, places[fits:]), len(places) - fits)


def _droppable(question: Question) -> list[int]:
    distractors = [place for place, document in enumerate(question.documents) if not document.is_supporting]
    return distractors[1:] if len(distractors) == len(question.documents) else distractors


def _without(question: Question, places: list[int]) -> Question:
    gone = set(places)
    kept = tuple(document for place, document in enumerate(question.documents) if place not in gone)
    return dataclasses.replace(question, documents=kept)
