"""Records survive their line; a line that is no record is refused."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt_lite.endpoint.replies import Reply
from mbt_lite.errors import DataError
from mbt_lite.records import (
    Completion,
    Document,
    Measurement,
    Message,
    PhaseSpan,
    Prediction,
    Question,
    Solution,
    Trace,
    from_row,
    to_row,
)

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


# Hostile rows: every field of every record, with every JSON value that is not of its type

SPAN = PhaseSpan("plan", 0, 9)
WHOLE: list[Any] = [
    Document("t", "x", True),
    SPAN,
    Question("q", "?", "a", ("b",), (Document("t", "x", True),), "mbt", 2, "bridge", "hard"),
    Completion("q", 0, "x", "stop", 3, 4),
    Solution("q", "x", "m", False),
    Trace("q:mbt_r:0:0", "q", "mbt_r", 0, 0, "m", False, "abc", "x", "a", ({"role": "user", "content": "?"},),
          ({"role": "assistant", "content": "x"},), (SPAN,)),
    Prediction("q", "sft", 0, "x", "length", 4, "a", ("a",), 1, 0.5, 1, 1, 0, 1, 1, 9, 3, 0.1, (SPAN,)),
    Measurement("2026-11-30", "c", "gen", "fast", {"cores": 2}, {"torch": "2"}, {}, {"rate": 1.5}),
    Reply("k", "draft", "q:0", "x", "stop", "m", 3, 4, 5, "teacher"),
]  # fmt: skip
HOSTILE: list[Any] = [
    None,
    True,
    False,
    7,
    7.0,
    0.5,
    math.nan,
    math.inf,
    "banana",
    "\ud800",
    [],
    [7],
    ["x"],
    {},
    {"x": 1},
]


def fits(value: Any, hint: Any) -> bool:
    """Tell by the field's annotation whether a JSON value may stand there."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return any(fits(value, argument) for argument in arguments)
    if origin is Literal:
        return type(value) is str and value in arguments
    if origin is tuple:
        return isinstance(value, list) and all(fits(item, arguments[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, dict)
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    if hint is str:
        return type(value) is str and value != "\ud800"
    return type(value) is hint


@pytest.mark.parametrize("record", WHOLE, ids=lambda record: type(record).__name__)
def test_from_row_refuses_every_value_that_is_not_of_its_field(record: Any) -> None:
    kind, row = type(record), json.loads(json.dumps(to_row(record)))
    assert from_row(kind, row, "a.jsonl:1") == record
    n_refused = 0
    for name, hint in typing.get_type_hints(kind).items():
        for value in HOSTILE:
            hostile = {**row, name: value}
            if fits(value, hint):
                from_row(kind, hostile, "a.jsonl:1")
                continue
            n_refused += 1
            with pytest.raises(DataError) as caught:
                from_row(kind, hostile, "a.jsonl:7")
            said = str(caught.value)
            # one line that can be written anywhere: place, record, field, value, cure
            assert said.startswith(f"a.jsonl:7: not a {kind.__name__}: {name}"), said
            assert "(got " in said, said
            assert said.endswith("make it anew with the stage that writes it"), said
            assert "\n" not in said.encode().decode(), said
    assert n_refused >= 9 * len(dataclasses.fields(kind))


@pytest.mark.parametrize("record", WHOLE, ids=lambda record: type(record).__name__)
def test_from_row_needs_every_field_without_a_default_and_no_other(record: Any) -> None:
    row = to_row(record)
    for field in dataclasses.fields(record):
        less = {name: value for name, value in row.items() if name != field.name}
        if field.default is dataclasses.MISSING:
            with pytest.raises(DataError, match=rf"missing \['{field.name}'\], unknown \[\]"):
                from_row(type(record), less, "a.jsonl:1")
        else:
            assert getattr(from_row(type(record), less, "a.jsonl:1"), field.name) == field.default
    with pytest.raises(DataError, match=r"missing \[\], unknown \['more'\]"):
        from_row(type(record), {**row, "more": 1}, "a.jsonl:1")


DOCUMENT = {"title": "t", "text": "x", "is_supporting": True}
NESTED: dict[str, tuple[Any, dict[str, Any]]] = {
    "documents[1].text is not text (got None)": (Question, {"documents": [DOCUMENT, {**DOCUMENT, "text": None}]}),
    "documents[0] is not an object (got 'x')": (Question, {"documents": ["x"]}),
    "aliases[2] is not text (got 1)": (Question, {"aliases": ["a", "b", 1]}),
    "phases[0] is not an object (got 'plan')": (Prediction, {"phases": ["plan"]}),
    "phases[0].start is not a whole number (got 0.0)": (Trace, {"phases": [{"phase": "plan", "start": 0.0, "end": 1}]}),
    "prompt[0].role is none of system, user, assistant (got 'tool')": (
        Trace, {"prompt": [{"role": "tool", "content": "x"}]},
    ),
    "row_rule is none of closed, open, line (got 'ajar')": (Trace, {"row_rule": "ajar"}),
    "finish_reason is none of stop, length (got 'banana')": (Completion, {"finish_reason": "banana"}),
    "text is not text (got None)": (Completion, {"text": None}),
}  # fmt: skip


@pytest.mark.parametrize("said", NESTED)
def test_from_row_says_where_in_a_record_a_value_is_wrong(said: str) -> None:
    kind, changes = NESTED[said]
    [whole] = [record for record in WHOLE if type(record) is kind]
    with pytest.raises(DataError) as caught:
        from_row(kind, {**to_row(whole), **changes}, "a.jsonl:2")
    assert str(caught.value).startswith(f"a.jsonl:2: not a {kind.__name__}: {said}; ")


def test_from_row_takes_a_whole_number_for_a_share() -> None:
    row = to_row(WHOLE[6]) | {"f1": 1}
    read = from_row(Prediction, row, "a.jsonl:1")
    assert (read.f1, type(read.f1)) == (1.0, float)
