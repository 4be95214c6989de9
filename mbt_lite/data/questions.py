"""Questions from a file or a hub dataset, whatever their layout.

A file is a JSON array or JSONL, told apart by its first character. Its layout is named in the recipe or recognised by
the fields of its first record. All faulty records are reported at once, one line each. What no layout may have:

1. a record without documents: there is nothing to reason over;
2. an answer that normalises to nothing (`The`, `?!`): nothing could be scored against it;
3. an id that stands twice: records are joined by id.

MuSiQue records that say `answerable: false` are left out, and a log line says how many. They are left out before ids
are compared, because the full set holds each id twice, answerable and not.
"""

from __future__ import annotations

import difflib
import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mbt_lite.data import hotpot, hub, mbt, musique, twowiki
from mbt_lite.data.fields import of_type, shown
from mbt_lite.errors import DataError
from mbt_lite.recipe.schema import Questions
from mbt_lite.records import Question
from mbt_lite.text.normalize import normalize

MAX_FAULTS_SHOWN = 10

Row = Mapping[str, Any]
RowReader = Callable[[Row, str], Question | None]

READERS: dict[str, RowReader] = {
    "mbt": mbt.read_row,
    "musique": musique.read_row,
    "hotpot": hotpot.read_row,
    "2wiki": twowiki.read_row,
}
# The field that only this layout has, looked for in this order: 2Wiki has all of HotpotQA's and evidences.
MARKS = {"documents": "mbt", "paragraphs": "musique", "evidences": "2wiki", "supporting_facts": "hotpot"}

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
        rows = _file_rows(Path(spec.path), faults)
    questions = _to_questions(rows, spec.layout, spec.path, faults)
    if spec.limit is None:
        return questions
    if spec.limit > len(questions):
        raise DataError(
            f"{spec.path}: only {len(questions)} questions (got limit {spec.limit}); lower or remove `limit`"
        )
    chosen = random.Random(seed).sample(range(len(questions)), spec.limit)
    return [questions[place] for place in sorted(chosen)]


def _to_questions(rows: Iterator[tuple[str, Any]], layout: str, path: str, faults: list[str]) -> list[Question]:
    """Turn (where, record) pairs into questions; `faults` may grow while `rows` is read."""
    questions: list[Question] = []
    first_places: dict[str, str] = {}
    n_unanswerable = 0
    for where, row in rows:
        try:
            row = of_type(row, dict, f"{where}: record")
            if layout == "auto":
                layout = _recognise(row, where)
            question = READERS[layout](row, where)
            if question is None:
                n_unanswerable += 1
                continue
            _check(question, where, first_places)
            questions.append(question)
        except DataError as fault:
            faults.append(str(fault))
            if layout == "auto":
                break
    if faults:
        more = len(faults) - MAX_FAULTS_SHOWN
        raise DataError("\n".join(faults[:MAX_FAULTS_SHOWN] + ([f"{path}: ... and {more} more"] if more > 0 else [])))
    if not questions:
        found = f"{n_unanswerable} records, all `answerable: false`" if n_unanswerable else "no records"
        raise DataError(f"{path}: holds no question (got {found}); name another file")
    if n_unanswerable:
        log.warning("%s: left out %d records that say `answerable: false`", path, n_unanswerable)
    return questions


def _recognise(row: Row, where: str) -> str:
    """Tell the layout by the fields of the first record."""
    for name, layout in MARKS.items():
        if name in row:
            return layout
    raise DataError(
        f"{where}: no layout has these fields (got {', '.join(row) or 'none'}); "
        f"known by {', '.join(f'{name} ({layout})' for name, layout in MARKS.items())}: see `layout`"
    )


def _check(question: Question, where: str, first_places: dict[str, str]) -> None:
    """Refuse what no layout may have; remember where each id first stood."""
    if not question.documents:
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


def _file_rows(path: Path, faults: list[str]) -> Iterator[tuple[str, Any]]:
    """Give (where, record) of a JSON array or of JSONL lines; a line that is not JSON goes to `faults`."""
    content = _read_text(path)
    if content.lstrip().startswith("["):
        try:
            records = json.loads(content)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{error.lineno}: not JSON ({error.msg}); mend or re-download the file") from error
        yield from ((f"{path}: record {number}", record) for number, record in enumerate(records, 1))
        return
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            faults.append(f"{path}:{number}: not JSON ({error.msg}, got {shown(line)}); mend or delete the line")
            continue
        yield f"{path}:{number}", record


def _read_text(path: Path) -> str:
    """Read a file as UTF-8; DataError if it is not there, is a folder or is not UTF-8."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; {_what_was_meant(path)}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); name a file that can") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: not UTF-8 (got byte 0x{content[error.start]:02x}); save or convert the file as UTF-8"
        ) from error


def _what_was_meant(path: Path) -> str:
    """Suggest a file of the same folder, or say that the folder is missing too."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either: check the path, it is relative to the working directory"
    names = sorted(entry.name for entry in path.parent.iterdir() if entry.is_file())
    near = difflib.get_close_matches(path.name, names, n=1)
    if near:
        return f"did you mean {path.parent / near[0]}?"
    return f"its folder holds {', '.join(names[:5]) or 'no files'}{', ...' if len(names) > 5 else ''}"
