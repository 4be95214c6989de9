"""Dev questions that stand in train too: scores on them show memory, not skill.

Two questions are one if they say the same in normalised form, or have one id; an id that is a bare number tells
nothing, as every file may count from 0. With `limit`, what it keeps is compared. One file under two names, and a dev
set of which nothing is new, are refused; everything else is told.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mbt_lite.data.questions import read_questions
from mbt_lite.errors import DataError
from mbt_lite.recipe.schema import Data
from mbt_lite.records import Question
from mbt_lite.text.normalize import normalize

_N_NAMED = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Overlap:
    """The ids of dev questions that train has, by their text and else by id alone; how many dev questions there are.

    `unread` says why one of the two could not be read, and so nothing was compared.
    """

    of: int = 0
    by_text: tuple[str, ...] = ()
    by_id: tuple[str, ...] = ()
    unread: str | None = None

    @property
    def lines(self) -> list[str]:
        """Say what was found; nothing if the two share nothing."""
        if self.unread is not None:
            return [f"data: whether dev questions stand in train too is not known ({self.unread})"]
        shared = (*self.by_text, *self.by_id)
        if not shared:
            return []
        by_id = f", {len(self.by_id)} of them by id alone, in other words" if self.by_id else ""
        more = ", ..." if len(shared) > _N_NAMED else ""
        return [
            f"data: WARNING: {len(shared)} of {self.of} dev questions stand in train too{by_id} "
            f"({', '.join(shared[:_N_NAMED])}{more}): scores on them show memory, not skill; take them out of one"
        ]

    def to_row(self) -> dict[str, Any]:
        """Give what metrics.json holds: counts, and what to say."""
        n = None if self.unread is not None else len(self.by_text) + len(self.by_id)
        return {"n": n, "n_by_id_alone": len(self.by_id), "of": self.of, "said": self.lines}


def read_overlap(data: Data) -> Overlap:
    """Compare the questions of train and dev.

    Raises DataError if they are one file, or nothing in dev is new. A file that cannot be read is told by who needs it.
    """
    train, dev = Path(data.train.path), Path(data.dev.path)
    if train.is_file() and dev.is_file() and train.samefile(dev):
        raise DataError(f"{dev}: data.dev is the file of data.train (got {train}); score on held-out questions")
    stamps = tuple((path.stat().st_mtime_ns, path.stat().st_size) for path in (train, dev) if path.is_file())
    found = _read(data.model_dump_json(include={"train", "dev", "seed"}), stamps)
    if found.of and len(found.by_text) == found.of:
        raise DataError(
            f"{dev}: all {found.of} questions of data.dev stand in data.train too (got {train}); "
            "score on held-out questions"
        )
    return found


# every stage of a run asks; a file that changed is read again
@functools.lru_cache(maxsize=8)
def _read(data: str, stamps: tuple[tuple[int, int], ...]) -> Overlap:
    read = Data.model_validate_json(data)
    try:
        train, dev = read_questions(read.train, read.seed), read_questions(read.dev, read.seed)
    except DataError as error:
        return Overlap(unread=str(error).partition("\n")[0])
    return find_overlap(train, dev)


def find_overlap(train: Sequence[Question], dev: Sequence[Question]) -> Overlap:
    """Find the dev questions that train has."""
    texts = {normalize(question.question) for question in train} - {""}
    ids = {question.question_id for question in train if not question.question_id.isdecimal()}
    by_text = [question.question_id for question in dev if normalize(question.question) in texts]
    by_id = [q.question_id for q in dev if q.question_id in ids and normalize(q.question) not in texts]
    return Overlap(len(dev), tuple(by_text), tuple(by_id))
