"""Reader of HotpotQA (Yang et al. 2018, arXiv 1809.09600), the raw array and the hub's rows.

::

    raw  {"_id": "5a8b...", "question": "...", "answer": "...", "type": "bridge", "level": "hard",
          "supporting_facts": [["title", 0], ...], "context": [["title", ["First sentence.", " Second one."]], ...]}
    hub  {"id": "5a8b...", ..., "supporting_facts": {"title": [...], "sent_id": [...]},
          "context": {"title": [...], "sentences": [[...], ...]}}
    or   {..., "supporting_facts": [{"title": "...", "sent_id": 0}], "context": [{"title": "...", "sentences": [...]}]}

1. Titles hold HTML entities (`Simon &amp; Simon`): they are unescaped. Stray white space around titles and sentences
   goes.
2. A document is supporting iff its title stands in `supporting_facts`; of two documents with one title, both are. A
   supporting title without a document marks nothing: the record is kept as the dataset gives it.
3. The dataset does not say the hops.
4. It has no intermediate results: titles of supporting documents, without brackets, that are neither in the question
   nor the answer stand in (`bridges_are_titles`); comparisons have none.
"""

from __future__ import annotations

import dataclasses
import html
from typing import Any

from mbt_lite.errors import DataError
from mbt_lite.layouts.fields import all_text, field, objects, of_type, optional, shown, text
from mbt_lite.layouts.layout import Layout, Row, Tier, unsaid, whole
from mbt_lite.records import Document, Question
from mbt_lite.text.names import plain_title


def read_row(row: Row, where: str) -> Question:
    """Read one record; DataError names `where` and the field that is wrong."""
    question = whole(read_key(row, where), row, read_documents(row, where), where)
    titles = [plain_title(document.title) for document in question.documents if document.is_supporting]
    bridges = () if question.question_type == "comparison" else unsaid(titles, question)
    return dataclasses.replace(question, bridges=bridges, bridges_are_titles=bool(bridges))


def read_key(row: Row, where: str, source: str = "hotpot") -> Question:
    """Read what scoring needs of a record; 2Wiki has the same."""
    return Question(
        question_id=text(row, "_id" if "_id" in row else "id", where),
        question="",
        answer=field(row, "answer", str, where),
        aliases=(),
        documents=(),
        source=source,
        question_type=optional(row, "type", str, where),
        level=optional(row, "level", str, where),
    )


def read_documents(row: Row, where: str) -> tuple[Document, ...]:
    """Read `context` and `supporting_facts`, raw or hub; 2Wiki has the same."""
    supporting = {_title(title, where) for title, _ in _pairs(row, "supporting_facts", "sent_id", where)}
    documents = []
    for number, (name, sentences) in enumerate(_pairs(row, "context", "sentences", where), 1):
        place = f'{where}: field "context", document {number}'
        title = _title(name, place)
        body = " ".join(sentence.strip() for sentence in all_text(of_type(sentences, list, place), place))
        documents.append(Document(title, body.strip(), title in supporting))
    return tuple(documents)


def _pairs(row: Row, name: str, second: str, where: str) -> list[tuple[Any, Any]]:
    """Give (title, other) pairs of a raw list of pairs, of a hub row's two columns, or of a list of objects."""
    place = f'{where}: field "{name}"'
    return [_pair(item, second, f"{place}, item {number}") for number, item in enumerate(objects(row, name, where), 1)]


def _pair(item: Any, second: str, where: str) -> tuple[Any, Any]:
    if type(item) is dict:
        return field(item, "title", str, where), field(item, second, list if second == "sentences" else int, where)
    if type(item) is not list or len(item) != 2:
        raise DataError(f"{where}: is not a pair (got {shown(item)}); write [title, {second}]")
    return item[0], item[1]


def _title(value: Any, where: str) -> str:
    title: str = of_type(value, str, f"{where}: title")
    return html.unescape(title).strip()


def _tier(question: Question) -> Tier | None:
    """Rank a record without a level, which released files all have.

    arXiv 2602.22508 v2 calls bridge hard from three supporting facts on; our questions do not count them.
    """
    tiers: dict[str | None, Tier] = {"comparison": "easy", "bridge": "medium"}
    return tiers.get(question.question_type)


LAYOUT = Layout(
    "hotpot", ("supporting_facts",), ("level",), read_row, read_key, "hotpot", _tier, licence="cc-by-sa-4.0"
)
