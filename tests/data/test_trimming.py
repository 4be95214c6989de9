"""Trimming: hand-computed cases, and properties against trying every number of kept distractors."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt_lite.data.trimming import Trimmed, trim_question
from mbt_lite.records import Document, Question


def make(sizes, supporting):
    """A question whose documents have the given sizes as text."""
    documents = tuple(
        Document(str(place), "x" * size, is_supporting)
        for place, (size, is_supporting) in enumerate(zip(sizes, supporting, strict=True))
    )
    return Question("q", "Who?", "Ann", (), documents, "mine")


def count(question):
    """Five tokens for the question, one a letter."""
    return 5 + sum(len(document.text) for document in question.documents)


def titles(trimmed):
    return "".join(document.title for document in trimmed.question.documents)


CASES = {
    "fits as it is": ([10, 10, 10], [0, 1, 0], 35, "012", 0),
    "one token over drops the last distractor": ([10, 10, 10], [0, 1, 0], 34, "01", 1),
    "order of the rest stays": ([10, 10, 10, 10], [0, 0, 1, 1], 35, "023", 1),
    "all distractors go": ([10, 10, 10], [0, 1, 0], 15, "1", 2),
    "nothing is supporting: the first stays": ([10, 10, 10], [0, 0, 0], 15, "0", 2),
}


@pytest.mark.parametrize(("sizes", "supporting", "limit", "kept", "dropped"), CASES.values(), ids=CASES.keys())
def test_trim_question_keeps(sizes, supporting, limit, kept, dropped):
    trimmed = trim_question(make(sizes, map(bool, supporting)), limit, count)
    assert (titles(trimmed), trimmed.dropped) == (kept, dropped)


def test_trim_question_leaves_a_fitting_question_untouched():
    question = make([1], [True])
    assert trim_question(question, 6, count).question is question


@pytest.mark.parametrize(
    ("supporting", "dropped"),
    [([False, True, False], 2), ([True, True, True], 0), ([False, False, False], 2)],
    ids=["distractors gone", "no distractors", "one must stay"],
)
def test_trim_question_gives_none_when_nothing_more_may_go(supporting, dropped):
    assert trim_question(make([10, 10, 10], supporting), 14, count) == Trimmed(None, dropped)


documents = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=12)


@given(documents, st.integers(0, 120))
def test_trim_question_drops_as_few_as_it_takes(pairs, limit):
    question = make([size for size, _ in pairs], [is_supporting for _, is_supporting in pairs])
    distractors = [document for document in question.documents if not document.is_supporting]
    if len(distractors) == len(question.documents):
        distractors = distractors[1:]
    options = []
    for dropped in range(len(distractors) + 1):
        gone = distractors[len(distractors) - dropped :]
        left = tuple(document for document in question.documents if document not in gone)
        option = dataclasses.replace(question, documents=left)
        if count(option) <= limit:
            options.append(Trimmed(option, dropped))
    assert trim_question(question, limit, count) == (options[0] if options else Trimmed(None, len(distractors)))


@given(documents, st.integers(0, 120))
def test_trim_question_never_touches_supporting_documents_or_order(pairs, limit):
    question = make([size for size, _ in pairs], [is_supporting for _, is_supporting in pairs])
    trimmed = trim_question(question, limit, count).question
    if trimmed is not None:
        places = [int(document.title) for document in trimmed.documents]
        assert places == sorted(places)
        assert [d for d in trimmed.documents if d.is_supporting] == [d for d in question.documents if d.is_supporting]
        assert dataclasses.replace(trimmed, documents=()) == dataclasses.replace(question, documents=())
        assert trimmed.documents


def test_trim_question_counts_few_times():
    counted = []

    def counting(question):
        counted.append(question)
        return count(question)

    trim_question(make([10] * 20, [True, True] + [False] * 18), 100, counting)
    assert len(counted) <= 6
