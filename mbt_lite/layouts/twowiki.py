"""Reader of 2WikiMultihopQA (Ho et al. 2020, arXiv 2011.01060).

::

    {"_id": "8813...", "question": "...", "answer": "...", "type": "compositional",
     "supporting_facts": [["title", 0], ...], "context": [["title", ["Sentence.", ...]], ...],
     "evidences": [["subject", "relation", "object"], ...]}

1. `context` and `supporting_facts` are HotpotQA's, raw or as hub rows, and read by the same function.
2. The hops are the number of evidences; without any the dataset does not say. There is no level.
3. Its aliases stand in a file of their own, `id_aliases.json`, joined by `answer_id` as its scorer of version 1.1 does.
4. The bridges are the objects of the evidences, each once, that are neither the answer nor in the question.
5. An answer need not stand verbatim in the documents (dates and demonyms are re-worded).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from mbt_lite.errors import DataError
from mbt_lite.layouts.fields import all_text, of_type, optional, shown
from mbt_lite.layouts.hotpot import read_documents, read_key
from mbt_lite.layouts.layout import Layout, Row, Tier, unsaid, whole
from mbt_lite.records import Question


def read_row(row: Row, where: str) -> Question:
    """Read one record; DataError names `where` and the field that is wrong."""
    evidences = optional(row, "evidences", list, where) or []
    question = whole(_read_key(row, where), row, read_documents(row, where), where)
    objects = [_object(fact, f'{where}: field "evidences", item {number}') for number, fact in enumerate(evidences, 1)]
    return dataclasses.replace(question, hops=len(evidences) or None, bridges=unsaid(objects, question))


def _object(fact: Any, where: str) -> str:
    """Give the object of [subject, relation, object]."""
    triple = all_text(of_type(fact, list, where), where)
    if len(triple) != 3:
        raise DataError(f"{where}: is no triple (got {shown(fact)}); write [subject, relation, object]")
    return triple[2].strip()


def _read_key(row: Row, where: str) -> Question:
    return read_key(row, where, "2wiki")


def _tier(question: Question) -> Tier | None:
    tiers: dict[str | None, Tier] = {
        "comparison": "easy",
        "inference": "medium",
        "compositional": "medium",
        "bridge_comparison": "hard",
    }
    return tiers.get(question.question_type)


LAYOUT = Layout(
    "2wiki", ("evidences",), ("answer_id",), read_row, _read_key, "hotpot", _tier, "answer_id", licence="apache-2.0"
)
