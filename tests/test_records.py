"""Records survive their line; a line that is no record is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt_lite.errors import DataError
from mbt_lite.records import Completion, Document, Message, Prediction, Question, Solution, Trace, from_row, to_row

# Lone surrogates cannot be written as UTF-8: they are no text.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNT = st.integers(min_value=0, max_value=10**6)
BIT = st.integers(min_value=0, max_value=1)
FINISH = st.sampled_from(["stop", "length"])
MESSAGES = st.lists(
    st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=TEXT), max_size=3
).map(tuple)
DOCUMENTS = st.lists(st.builds(Document, TEXT, TEXT, st.booleans()), max_size=3).map(tuple)
GOLDS = st.lists(TEXT, max_size=3).map(tuple)

RECORDS = {
    "document": st.builds(Document, TEXT, TEXT, st.booleans()),
    "question": st.builds(
        Question, TEXT, TEXT, TEXT, GOLDS, DOCUMENTS, TEXT, st.none() | COUNT, st.none() | TEXT, st.none() | TEXT
    ),
    "completion": st.builds(Completion, TEXT, COUNT, TEXT, FINISH, COUNT, COUNT),
    "solution": st.builds(Solution, TEXT, TEXT, TEXT, st.booleans()),
    "trace": st.builds(
        Trace,
        trace_id=TEXT,
        question_id=TEXT,
        kind=TEXT,
        rollout_index=st.none() | COUNT,
        trace_index=COUNT,
        teacher=TEXT,
        scripted=st.booleans(),
        prompt_version=TEXT,
        text=TEXT,
        answer=TEXT,
        prompt=MESSAGES,
        completion=MESSAGES,
    ),
    "prediction": st.builds(
        Prediction,
        question_id=TEXT,
        variant=TEXT,
        rollout_index=COUNT,
        text=TEXT,
        finish_reason=FINISH,
        completion_tokens=COUNT,
        answer=st.none() | TEXT,
        golds=GOLDS,
        exact_match=BIT,
        f1=st.floats(min_value=0, max_value=1),
        substring_match=BIT,
        answered=BIT,
        stopped=BIT,
        degenerate=BIT,
        answer_hit=BIT,
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_from_row_reads_back_what_to_row_wrote(name: str) -> None:
    @given(RECORDS[name])
    def reads_back(record: object) -> None:
        row = json.loads(json.dumps(to_row(record), ensure_ascii=False))
        assert from_row(type(record), row, "a.jsonl:1") == record

    reads_back()


ROW = {"question_id": "q", "text": "t", "teacher": "m", "scripted": True}


def test_from_row_names_place_missing_and_unknown_fields() -> None:
    row = {name: value for name, value in ROW.items() if name != "text"} | {"txt": "t"}
    with pytest.raises(DataError, match=r"^a\.jsonl:7: not a Solution \(missing \['text'\], unknown \['txt'\]\); "):
        from_row(Solution, row, "a.jsonl:7")


def test_from_row_names_a_wrong_document_of_a_question() -> None:
    row = to_row(Question("q", "?", "a", (), (Document("t", "x", True),), "mbt"))
    del row["documents"][0]["title"]
    with pytest.raises(DataError, match=r"^a\.jsonl:2: not a Document \(missing \['title'\]"):
        from_row(Question, row, "a.jsonl:2")


def test_from_row_fills_in_only_fields_with_defaults() -> None:
    row = to_row(Question("q", "?", "a", (), (), "mbt", hops=2))
    for name in ("hops", "question_type", "level"):
        del row[name]
    assert from_row(Question, row, "a.jsonl:1").hops is None


def test_golds_are_the_answer_and_its_aliases() -> None:
    assert Question("q", "?", "a", ("b", "c"), (), "mbt").golds == ("a", "b", "c")


def test_records_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Document("t", "x", True).title = "y"  # type: ignore[misc]
