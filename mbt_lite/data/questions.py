"""Questions from a file or a hub dataset, whatever their layout.

A file is a JSON array, JSONL or a table (CSV, TSV, Parquet). Its layout is named in the recipe or recognised by the
fields of its first record. All faulty records are reported at once, one line each. What no layout may have:

1. a record without documents, where the dataset has them: there is nothing to reason over (people's own questions may
   have none: they are asked closed-book);
2. an answer that normalises to nothing (`The`, `?!`): nothing could be scored against it;
3. an id that stands twice: records are joined by id.

MuSiQue records that say `answerable: false` are left out, and a log line says how many. They are left out before ids
are compared, because the full set holds each id twice, answerable and not.
"""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from mbt_lite.data import hub
from mbt_lite.data.stream import iter_records
from mbt_lite.errors import DataError
from mbt_lite.layouts import AUTO, layout_named, plain
from mbt_lite.layouts.fields import of_type, shown
from mbt_lite.recipe.schema import Questions
from mbt_lite.records import Question
from mbt_lite.text.normalize import normalize
from mbt_lite.text.numbers import plain_number

_FAULTS_SHOWN = 10

log = logging.getLogger(__name__)


def read_questions(spec: Questions, seed: int) -> list[Question]:
    """Read the questions that a recipe names; with `limit`, that many of them, chosen by `seed`, in file order.

    Raises DataError with one line per faulty record (the first ten, and how many more there are).
    """
    faults: list[str] = []
    if spec.path.startswith(hub.PREFIX):
        rows = hub.read_rows(spec.path, spec.split)
    elif spec.split is not None:
        raise DataError(f"{spec.path}: a file has no splits (got split {spec.split!r}); remove `split`")
    else:
        rows = iter_records(Path(spec.path), faults)
    questions = _to_questions(rows, spec.layout, spec.answer_rule, spec.path, faults)
    if spec.ask_for != "answer":
        questions = [dataclasses.replace(question, ask_for=spec.ask_for) for question in questions]
    if spec.limit is None:
        return questions
    if spec.limit > len(questions):
        raise DataError(
            f"{spec.path}: only {len(questions)} questions (got limit {spec.limit}); lower or remove `limit`"
        )
    chosen = random.Random(seed).sample(range(len(questions)), spec.limit)
    return [questions[place] for place in sorted(chosen)]


def closed_book_lines(questions: Sequence[Question], stage: str) -> list[str]:
    """Say how many questions have no documents, if any: what reads documents is off for them."""
    closed = sum(not question.documents for question in questions)
    if not closed:
        return []
    return [f"{stage}: {closed} of {len(questions)} questions have no documents: they are asked closed-book"]


def _to_questions(
    rows: Iterator[tuple[str, Any]], layout: str, rule: Literal["auto", "text", "number"], path: str, faults: list[str]
) -> list[Question]:
    """Turn (where, record) pairs into questions; `faults` may grow while `rows` is read."""
    questions: list[Question] = []
    first_places: dict[str, str] = {}
    n_unanswerable = 0
    for where, row in rows:
        try:
            row = of_type(row, dict, f"{where}: record")
            layout = (known := layout_named(layout, row, where)).name
            question = known.read(row, where)
            if question is None:
                n_unanswerable += 1
                continue
            question = _by_rule(question, rule, where)
            _check(question, where, first_places)
            questions.append(question)
        except DataError as fault:
            faults.append(str(fault))
            if layout == AUTO:
                # no record can be read, but a file that is broken further on is told as that
                for _ in rows:
                    pass
    if faults:
        more = len(faults) - _FAULTS_SHOWN
        raise DataError("\n".join(faults[:_FAULTS_SHOWN] + ([f"{path}: ... and {more} more"] if more > 0 else [])))
    if not questions:
        found = f"{n_unanswerable} records, all `answerable: false`" if n_unanswerable else "no records"
        raise DataError(f"{path}: holds no question (got {found}); name another file")
    if n_unanswerable:
        log.warning("%s: left out %d records that say `answerable: false`", path, n_unanswerable)
    return questions


def _by_rule(question: Question, rule: Literal["auto", "text", "number"], where: str) -> Question:
    """Give the question with the answer rule of the recipe; DataError for a number without digits."""
    if rule == "auto" or rule == question.answer_rule:
        return question
    if rule == "text":
        return dataclasses.replace(question, answer_rule="text")
    answer = plain_number(question.answer)
    if answer is None:
        raise DataError(
            f"{where}: answer has no number (got {shown(question.answer)}); mend it, or set answer_rule to text"
        )
    aliases = tuple(found for alias in question.aliases if (found := plain_number(alias)) is not None)
    return dataclasses.replace(question, answer=answer, aliases=aliases, answer_rule="number")


def _check(question: Question, where: str, first_places: dict[str, str]) -> None:
    """Refuse what no layout may have; remember where each id first stood."""
    if not question.documents and question.source != plain.LAYOUT.name:
        raise DataError(f"{where}: no documents (got an empty list); give the question its documents or delete it")
    if not normalize(question.answer):
        raise DataError(
            f"{where}: answer normalises to nothing (got {shown(question.answer)}); mend or delete the record"
        )
    first = first_places.setdefault(question.question_id, where)
    if first != where:
        raise DataError(
            f"{where}: id stands twice (got {question.question_id!r}, first at {first}); rename or delete one"
        )
