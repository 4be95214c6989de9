"""Reader of 2WikiMultihopQA (Ho et al. 2020, arXiv 2011.01060).

::

    {"_id": "8813...", "question": "...", "answer": "...", "type": "compositional",
     "supporting_facts": [["title", 0], ...], "context": [["title", ["Sentence.", ...]], ...],
     "evidences": [["subject", "relation", "object"], ...]}

1. `context` and `supporting_facts` are HotpotQA's, raw or as hub rows, and read by the same function.
2. The hops are the number of evidences; without any the dataset does not say. There is no level.
3. An answer need not stand verbatim in the documents (dates and demonyms are re-worded).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mbt_lite.data.fields import optional, text
from mbt_lite.data.hotpot import read_documents
from mbt_lite.records import Question


def read_row(row: Mapping[str, Any], where: str) -> Question:
    """Read one record; DataError names `where` and the field that is wrong."""
    evidences = optional(row, "evidences", list, where)
    return Question(
        question_id=text(row, "_id" if "_id" in row else "id", where),
        question=text(row, "question", where),
        answer=text(row, "answer", where),
        aliases=(),
        documents=read_documents(row, where),
        source="2wiki",
        hops=len(evidences) if evidences else None,
        question_type=optional(row, "type", str, where),
    )
