"""What a dataset layout is: how its records are recognised, read, scored and ranked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from mbt_lite.layouts.fields import text
from mbt_lite.records import Document, Question
from mbt_lite.text.normalize import normalize

Row = Mapping[str, Any]
Rules = Literal["musique", "hotpot"]
Tier = Literal["easy", "medium", "hard"]


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """One layout; `name` is what recipes call it, and the `source` of its questions.

    A record with one of the fields `marks` is of this layout (or with several, where a mark names several);
    `key_marks` tell one that is read for scoring only.
    `read` gives a whole record, `read_key` what scoring needs of it, whatever else it has lost. Both give None for a
    record that says it has no answer, and their DataErrors name `where` (file:line) and the wrong field. `f1_rules` are
    its official scorer's (see `metrics.answers`), `tier` the difficulty of a question without a level of its own.
    `alias_id` is the field that joins a file of aliases, `licence` the hub's name of the one that the dataset is
    published under by its authors; people's own questions have none.
    """

    name: str
    marks: tuple[str, ...]
    key_marks: tuple[str, ...]
    read: Callable[[Row, str], Question | None]
    read_key: Callable[[Row, str], Question | None]
    f1_rules: Rules
    tier: Callable[[Question], Tier | None]
    alias_id: str | None = None
    licence: str | None = None


def whole(key: Question, row: Row, documents: tuple[Document, ...], where: str) -> Question:
    """Complete a key by its documents, its question and an answer that says something."""
    return dataclasses.replace(
        key, question=text(row, "question", where), answer=text(row, "answer", where), documents=documents
    )


def unsaid(names: Iterable[str], key: Question) -> tuple[str, ...]:
    """Keep the names, each once, that the question does not say and that are not its answer, compared normalised."""
    asked, answer = f" {normalize(key.question)} ", normalize(key.answer)
    spelled: dict[str, str] = {}
    for name in names:
        spelled.setdefault(normalize(name), name)
    return tuple(name for form, name in spelled.items() if form not in ("", answer) and f" {form} " not in asked)


def tier_by_hops(question: Question) -> Tier | None:
    """Rank by hops, as arXiv 2602.22508 v2 ranks MuSiQue."""
    tiers: dict[int | None, Tier] = {2: "easy", 3: "medium", 4: "hard"}
    return tiers.get(question.hops)
