"""What is asked over: documents that are pasted or stand in a file, and questions of a question file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mbt_lite.data.questions import read_questions
from mbt_lite.data.tables import is_table
from mbt_lite.errors import DataError
from mbt_lite.recipe.schema import Questions
from mbt_lite.records import Document, Question

_JSON = (".json", ".jsonl")
_NUMBER = re.compile(r"^\[\d+\]\s*")


def read_documents(lines: Iterable[str]) -> tuple[Document, ...]:
    """Read documents, one a line, `Title: text`; what has no title gets a number for one, empty lines are left out.

    >>> [document.title for document in read_documents(["[1] Oslo: A city.", "", "No title here."])]
    ['Oslo', 'Document 2']
    """
    written = [line.strip() for line in lines if line.strip()]
    return tuple(_document(_NUMBER.sub("", line), number) for number, line in enumerate(written, 1))


def _document(line: str, number: int) -> Document:
    title, colon, text = line.partition(": ")
    if not colon:
        title, text = f"Document {number}", line
    return Document(title.strip(), text.strip(), is_supporting=False)


def read_file(path: Path) -> tuple[Document, ...] | list[Question]:
    """Read documents, one a line, or the questions of JSON, JSONL or a table; DataError if there is none."""
    if path.suffix.lower() in _JSON or is_table(path):
        return read_questions(Questions(path=str(path)), seed=0)
    try:
        documents = read_documents(path.read_text(encoding="utf-8-sig").split("\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); give a text file, one document a line") from error
    if not documents:
        raise DataError(f"{path}: no documents (got an empty file); write one a line, `Title: text`")
    return documents


def asked(question: str, documents: tuple[Document, ...]) -> Question:
    """Make a question of what a person typed; nobody knows its answer."""
    return Question("chat", question, answer="", aliases=(), documents=documents, source="chat")
