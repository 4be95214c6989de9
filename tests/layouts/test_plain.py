"""People's own questions: a question and an answer are enough, and what is not known is not made up."""

import dataclasses
from typing import Any

import pytest

from mbt_lite.errors import DataError
from mbt_lite.layouts import layout_named, plain
from mbt_lite.records import Document, Question, from_row, to_row
from mbt_lite.rewards.terms import exact_term

ASKED: dict[str, Any] = {"question": "Where was Judy Rice born?", "answer": "Oakford"}


def read(**fields: Any) -> Question:
    return plain.read_row(ASKED | fields, "f:3")


def test_question_and_answer_are_enough_and_the_id_is_the_questions() -> None:
    question = read()
    assert question == Question(question.question_id, ASKED["question"], "Oakford", (), (), "plain")
    assert question.question_id == read(answer="Elsewhere").question_id != read(question="Why?").question_id
    assert layout_named("auto", ASKED, "f:3").name == "plain"


@pytest.mark.parametrize(("name", "value"), [("id", "a"), ("_id", "a"), ("question_id", "a"), ("id", 7)])
def test_an_id_is_kept(name: str, value: Any) -> None:
    assert read(**{name: value}).question_id == str(value)


@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        (["A text."], (Document("Document 1", "A text.", None),)),
        ("A text.", (Document("Document 1", "A text.", None),)),
        ('["A.", "B."]', (Document("Document 1", "A.", None), Document("Document 2", "B.", None))),
        ([{"title": "T", "text": "A."}], (Document("T", "A.", None),)),
        ([{"text": "A.", "is_supporting": True}], (Document("Document 1", "A.", True),)),
        ("[not JSON", (Document("Document 1", "[not JSON", None),)),
    ],
)
def test_documents_are_texts_or_titles_and_texts(given: Any, read_as: tuple[Document, ...]) -> None:
    assert read(documents=given).documents == read(context=given).documents == read_as


@pytest.mark.parametrize(
    ("answer", "held", "rule"),
    [
        (4, "4", "number"),
        (2.5, "2.5", "number"),
        ("1,800", "1,800", "number"),
        ("$12.50", "$12.50", "number"),
        ("48/2 = <<48/2=24>>24\n#### 1,072", "1072", "number"),
        ("24 clips", "24 clips", "text"),
        ("1912-13", "1912-13", "text"),
        ("3,5", "3,5", "text"),
        ("1,00,000", "1,00,000", "text"),
        (1e16, "1e+16", "number"),
    ],
)
def test_a_number_is_compared_as_one(answer: Any, held: str, rule: str) -> None:
    question = read(answer=answer)
    assert (question.answer, question.answer_rule) == (held, rule)
    assert question.golds == ((f"#### {held}",) if rule == "number" else (held,))
    assert question.accepted == (held,)


def test_a_number_with_an_alias_in_words_is_compared_as_text() -> None:
    question = read(answer=3, aliases=["three"])
    assert exact_term("Three", question.golds) == exact_term("3", question.golds) == 1.0
    assert read(answer=3, aliases=["3.0"]).answer_rule == "number"


REFUSED = {
    "no answer": ({"answer": None}, 'field "answer": is not text (got None)'),
    "an empty answer": ({"answer": " "}, 'field "answer" is empty'),
    "a truth value": ({"answer": True}, 'field "answer": is not text (got True)'),
    "a list of answers": ({"answer": ["a"]}, "is not text (got ['a'])"),
    "no number": ({"answer": float("nan")}, 'field "answer": is not text (got nan)'),
    "a cell with a list of answers": ({"answer": "['Rome', 'Paris']"}, 'field "answer" is a list'),
    "aliases as Python writes them": ({"aliases": "['NYC', 'Big Apple']"}, 'field "aliases": a list that is no JSON'),
    "documents as numpy writes them": ({"documents": "['One.' 'Two.']"}, 'field "documents": a list that is no JSON'),
    "an alias of no words": ({"aliases": ["Rome", "The"]}, 'field "aliases": one normalises to nothing'),
    "a mark without a number": ({"answer": "so #### many"}, "no number after #### (got ' many')"),
    "a slip": ({"docments": ["x"]}, "unknown field 'docments'; did you mean documents?"),
    "a document of another kind": ({"documents": ["a", 3]}, 'field "documents", item 2: is neither a text nor {title'),
    "a document without text": ({"documents": [{"title": "T"}]}, 'item 1: missing field "text"'),
    "support half said": ({"documents": ["a", {"text": "b", "is_supporting": True}]}, "say it of all or of none"),
    "aliases of another kind": ({"aliases": {"a": 1}}, 'field "aliases": is not a list'),
}


@pytest.mark.parametrize(("fields", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_wrong_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=r"^f:3: ") as caught:
        read(**fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_fields_are_not_read_and_named() -> None:
    assert plain.unread({**ASKED, "notes": "x", "split": "train"}) == ["notes", "split"]
    assert dataclasses.replace(read(notes="x")) == read()


def test_the_third_state_of_support_is_kept_in_files() -> None:
    question = read(documents=["A."], answer=4)
    assert from_row(Question, to_row(question), "f:1") == question
