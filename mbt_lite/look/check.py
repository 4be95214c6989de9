"""`data check` and `data show`: a question file read as a recipe would read it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from mbt_lite import prompts
from mbt_lite.data import hub
from mbt_lite.data.control_tokens import refuse_control_tokens
from mbt_lite.data.overlap import find_overlap
from mbt_lite.data.questions import read_questions
from mbt_lite.data.stream import iter_records
from mbt_lite.data.trimming import trim_question
from mbt_lite.errors import DataError
from mbt_lite.layouts import plain
from mbt_lite.recipe.schema import Model, Questions
from mbt_lite.records import Question
from mbt_lite.student.token_counts import TokenCounts


def check_file(
    path: str,
    layout: str,
    answer_rule: str,
    split: str | None,
    model: str | None,
    max_prompt_tokens: int,
    against: Path | None,
) -> Iterator[str]:
    """Give the lines of a check; raises DataError, a line for each faulty record, for a file that cannot be used."""
    spec = specify(path, layout, answer_rule, split)
    questions = read_questions(spec, 0)
    yield f"{path}: {len(questions)} questions, layout {questions[0].source}"
    yield from _answers(questions)
    yield from _documents(questions)
    yield from unread_lines(path, questions)
    if model is None:
        yield "prompts: not counted; name the student by --model to count its tokens"
    else:
        yield from _lengths(questions, spec, model, max_prompt_tokens)
    if against is not None:
        other = read_questions(specify(str(against), "auto", "auto", None), 0)
        yield from find_overlap(other, questions).lines or [f"overlap with {against}: no question stands in both"]


def show_question(
    path: str, number: int, layout: str, answer_rule: str, split: str | None, model: str | None
) -> Iterator[str]:
    """Give a question as it is asked, number by number from 1; DataError for one that is not there."""
    questions = read_questions(specify(path, layout, answer_rule, split), 0)
    if number > len(questions):
        raise DataError(f"{path}: {len(questions)} questions (got number {number}); give one from 1")
    question = questions[number - 1]
    messages = prompts.student_messages(question)
    for message in messages:
        yield f"--- {message['role']}"
        yield message["content"]
    counted = "" if model is None else f", {_counts(model).prompt(messages)} tokens by {model}"
    yield f"--- {question.question_id}{counted}; right is, as {question.answer_rule}: {' | '.join(question.accepted)}"


def specify(path: str, layout: str, answer_rule: str, split: str | None) -> Questions:
    """Name questions as a recipe does; DataError for a layout or a rule that is not known."""
    try:
        return Questions.model_validate({"path": path, "layout": layout, "answer_rule": answer_rule, "split": split})
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{first['loc'][0]}: {first['msg']} (got {first['input']!r}); write one of them") from error


def _answers(questions: Sequence[Question]) -> Iterator[str]:
    rules = Counter(question.answer_rule for question in questions)
    yield f"answers: {', '.join(f'{n} compared as {rule}' for rule, n in sorted(rules.items(), reverse=True))}"


def _documents(questions: Sequence[Question]) -> Iterator[str]:
    closed = sum(not question.documents for question in questions)
    unknown = sum(
        bool(question.documents) and all(document.is_supporting is None for document in question.documents)
        for question in questions
    )
    if closed:
        yield (
            f"documents: {closed} of {len(questions)} questions have none: they are asked closed-book, and the teacher "
            "is told so; nothing can be trimmed from their prompts"
        )
    if closed < len(questions):
        counts = [len(question.documents) for question in questions if question.documents]
        yield f"documents: {min(counts)} to {max(counts)} a question, {statistics.median(counts):g} in the middle"
    if unknown:
        yield (
            f"supporting documents: not known of {unknown} questions: trimming may drop any but the first, the judge "
            "sees all of them, and there are no bridges"
        )


def unread_lines(path: str, questions: Sequence[Question]) -> Iterator[str]:
    """Name the fields of people's own files that are not read, with how many records have them."""
    if questions[0].source != plain.LAYOUT.name or path.startswith(hub.PREFIX):
        return
    rows = (row for _, row in iter_records(Path(path)) if isinstance(row, dict))
    counts = Counter(name for row in rows for name in plain.unread(row))
    if counts:
        yield f"not read: {', '.join(f'{name} ({n})' for name, n in counts.most_common())}"


def _lengths(questions: Sequence[Question], spec: Questions, model: str, most: int) -> Iterator[str]:
    counts = _counts(model)
    refuse_control_tokens(questions, counts.controls, spec)
    count: Callable[[Question], int] = lambda question: counts.prompt(prompts.student_messages(question))  # noqa: E731
    lengths = sorted(map(count, questions))
    ninety = lengths[int(0.9 * (len(lengths) - 1))]
    yield (
        f"prompts: {statistics.median(lengths):g} tokens in the middle, {ninety} at 90 %, {lengths[-1]} the longest, "
        f"by {model}"
    )
    trimmed = [trim_question(question, most, count) for question in questions]
    dropped = sum(found.dropped for found in trimmed if found.question is not None)
    out = [question for question, found in zip(questions, trimmed, strict=True) if found.question is None]
    named = f" ({', '.join(question.question_id for question in out[:3])}{', ...' if len(out) > 3 else ''})"
    yield f"within {most} tokens: {dropped} documents are dropped, {len(out)} questions left out{named if out else ''}"


def _counts(model: str) -> TokenCounts:
    # transformers takes seconds to import
    from mbt_lite.generation.local import read_counts

    return read_counts(Model(name=model))
