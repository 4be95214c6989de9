"""The readers on hand-made rows of every layout: what each field becomes, and what is refused."""

import copy

import pytest

from mbt_lite.errors import DataError
from mbt_lite.layouts import hotpot, mbt, musique, twowiki
from mbt_lite.records import Document, Question, to_row

MUSIQUE = {
    "id": "3hop1__1_2_3",
    "paragraphs": [
        {"idx": 1, "title": "Same", "paragraph_text": "Second. ", "is_supporting": True},
        {"idx": 0, "title": " Same", "paragraph_text": "First.", "is_supporting": False},
    ],
    "question": "Who? ",
    "answer": "Ann Lee",
    "answer_aliases": ["Ann", "", "AT"],
}
HOTPOT = {
    "_id": "5a",
    "question": "Who?",
    "answer": "Ann Lee",
    "supporting_facts": [["Cat &amp; Dog ", 0]],
    "context": [[" Cat &amp; Dog", ["One.", " Two."]], ["Cow", [" Three."]]],
    "type": "bridge",
    "level": "hard",
}
HUB = HOTPOT | {
    "supporting_facts": {"title": ["Cat &amp; Dog "], "sent_id": [0]},
    "context": {"title": [" Cat &amp; Dog", "Cow"], "sentences": [["One.", " Two."], [" Three."]]},
}
TWOWIKI = {key: value for key, value in HOTPOT.items() if key != "level"} | {
    "type": "compositional",
    "evidences": [["Cat", "owner", "Ann"], ["Ann", "name", "Ann Lee"]],
}
MBT = to_row(
    Question("q1", "Who?", "Ann Lee", ("Ann",), (Document("Cat", "One.", True),), "synthetic", 2, "bridge", "easy")
)
MBT |= {"aliases": ["Ann"], "documents": [{"title": "Cat", "text": "One.", "is_supporting": True}], "bridges": []}

READERS = {"musique": musique.read_row, "hotpot": hotpot.read_row, "2wiki": twowiki.read_row, "mbt": mbt.read_row}


def edited(row, path, value=None, *, remove=False):
    row = copy.deepcopy(row)
    *parents, last = path
    place = row
    for key in parents:
        place = place[key]
    if remove:
        del place[last]
    else:
        place[last] = value
    return row


def test_musique_orders_documents_by_idx_and_keeps_repeated_titles_apart():
    question = musique.read_row(MUSIQUE, "f:1")
    assert question.documents == (Document("Same", "First.", False), Document("Same", "Second.", True))


def test_musique_reads_hops_type_and_odd_aliases():
    question = musique.read_row(MUSIQUE, "f:1")
    assert (question.hops, question.question_type, question.level) == (3, "3hop1", None)
    assert question.golds == ("Ann Lee", "Ann", "", "AT")
    assert question.question == "Who?"


def test_musique_id_of_another_form_has_no_hops():
    question = musique.read_row(MUSIQUE | {"id": "mine-1"}, "f:1")
    assert (question.hops, question.question_type) == (None, None)


@pytest.mark.parametrize("answerable", [True, None], ids=["true", "null"])
def test_musique_answerable_row_is_read(answerable):
    assert musique.read_row(MUSIQUE | {"answerable": answerable}, "f:1") is not None


def test_musique_unanswerable_row_gives_none():
    assert musique.read_row(MUSIQUE | {"answerable": False}, "f:1") is None


def test_hotpot_unescapes_titles_and_matches_support_after_it():
    question = hotpot.read_row(HOTPOT, "f:1")
    assert question.documents == (Document("Cat & Dog", "One. Two.", True), Document("Cow", "Three.", False))
    assert (question.hops, question.question_type, question.level) == (None, "bridge", "hard")


def test_hotpot_hub_row_reads_as_the_raw_row():
    assert hotpot.read_row(HUB, "f:1") == hotpot.read_row(HOTPOT, "f:1")


def test_hotpot_hub_id_is_read():
    row = {key: value for key, value in HUB.items() if key != "_id"} | {"id": "5b"}
    assert hotpot.read_row(row, "f:1").question_id == "5b"


def test_hotpot_supporting_title_without_document_marks_nothing():
    question = hotpot.read_row(HOTPOT | {"supporting_facts": [["Horse", 0]]}, "f:1")
    assert not any(document.is_supporting for document in question.documents)


def test_twowiki_hops_are_the_evidences():
    question = twowiki.read_row(TWOWIKI, "f:1")
    assert (question.hops, question.question_type, question.level, question.source) == (
        2,
        "compositional",
        None,
        "2wiki",
    )


def test_twowiki_without_evidences_has_no_hops():
    assert twowiki.read_row(edited(TWOWIKI, ["evidences"], remove=True), "f:1").hops is None


def test_mbt_row_is_the_question_written_by_to_row():
    question = mbt.read_row(MBT, "f:1")
    assert question == Question(
        "q1", "Who?", "Ann Lee", ("Ann",), (Document("Cat", "One.", True),), "synthetic", 2, "bridge", "easy"
    )


def test_mbt_row_may_leave_out_what_is_not_known():
    row = {key: value for key, value in MBT.items() if key not in ("hops", "question_type", "level")}
    question = mbt.read_row(row, "f:1")
    assert (question.hops, question.question_type, question.level) == (None, None, None)


def test_mbt_row_with_a_misspelt_field_is_refused():
    with pytest.raises(DataError, match=r"^f:1: unknown field hopz; the layout has question_id, "):
        mbt.read_row(MBT | {"hopz": 2}, "f:1")


NEEDED = [
    *(("musique", MUSIQUE, [name]) for name in ("id", "question", "answer", "answer_aliases", "paragraphs")),
    *(("musique", MUSIQUE, ["paragraphs", 1, n]) for n in ("idx", "title", "paragraph_text", "is_supporting")),
    *(("hotpot", HOTPOT, [name]) for name in ("question", "answer", "supporting_facts", "context")),
    *(("hotpot", HUB, ["context", name]) for name in ("title", "sentences")),
    *(("2wiki", TWOWIKI, [name]) for name in ("question", "answer", "supporting_facts", "context")),
    *(("mbt", MBT, [name]) for name in ("question_id", "question", "answer", "aliases", "documents", "source")),
    *(("mbt", MBT, ["documents", 0, name]) for name in ("title", "text", "is_supporting")),
]


@pytest.mark.parametrize(("layout", "row", "path"), NEEDED, ids=lambda v: v if isinstance(v, str) else None)
def test_read_row_names_a_missing_field(layout, row, path):
    with pytest.raises(DataError, match=rf'^f:7: .*missing field "{path[-1]}"|^f:7: missing field "{path[-1]}"'):
        READERS[layout](edited(row, path, remove=True), "f:7")


def test_read_row_without_any_id_names_it():
    with pytest.raises(DataError, match='missing field "id"'):
        hotpot.read_row(edited(HOTPOT, ["_id"], remove=True), "f:1")


WRONG = {
    "question is a number": ("musique", MUSIQUE, ["question"], 3, 'field "question": is not text (got 3); write text'),
    "answer is empty": ("hotpot", HOTPOT, ["answer"], " ", "f:1: field \"answer\" is empty (got ' ')"),
    "answer is a list": ("2wiki", TWOWIKI, ["answer"], ["x"], "is not text (got ['x'])"),
    "answer is null": ("mbt", MBT, ["answer"], None, "is not text (got None)"),
    "an alias is null": ("musique", MUSIQUE, ["answer_aliases", 1], None, '"answer_aliases", item 2: is not text'),
    "paragraphs is text": ("musique", MUSIQUE, ["paragraphs"], "x", "is not a list (got 'x')"),
    "a paragraph is text": ("musique", MUSIQUE, ["paragraphs", 0], "x", "paragraph 1: is not an object (got 'x')"),
    "idx is true": ("musique", MUSIQUE, ["paragraphs", 0, "idx"], True, "is not a whole number (got True)"),
    "is_supporting is a number": ("musique", MUSIQUE, ["paragraphs", 0, "is_supporting"], 1, "is not true or false"),
    "answerable is text": ("musique", MUSIQUE, ["answerable"], "no", "is not true or false (got 'no')"),
    "context is an object without columns": ("hotpot", HOTPOT, ["context"], {}, 'field "context": is not a list'),
    "context columns differ": ("hotpot", HUB, ["context", "title"], ["x"], "in length (got title 1, sentences 2)"),
    "a document is no pair": ("hotpot", HOTPOT, ["context", 1], ["x"], "item 2: is not a pair (got ['x'])"),
    "a title is a number": ("hotpot", HOTPOT, ["context", 0, 0], 5, 'document 1: title: is not text (got 5)'),
    "sentences are text": ("hotpot", HOTPOT, ["context", 0, 1], "x", "is not a list (got 'x')"),
    "a sentence is null": ("hotpot", HOTPOT, ["context", 0, 1, 1], None, "item 2: is not text (got None)"),
    "a fact is no pair": ("2wiki", TWOWIKI, ["supporting_facts", 0], "x", "item 1: is not a pair (got 'x')"),
    "evidences is text": ("2wiki", TWOWIKI, ["evidences"], "x", 'field "evidences": is not a list'),
    "hops is text": ("mbt", MBT, ["hops"], "2", 'field "hops": is not a whole number'),
    "a document is text": ("mbt", MBT, ["documents", 0], "x" * 99, "document 1: is not an object (got 'xxx"),
}  # fmt: skip


@pytest.mark.parametrize(("layout", "row", "path", "value", "message"), WRONG.values(), ids=WRONG.keys())
def test_read_row_names_a_wrong_value(layout, row, path, value, message):
    with pytest.raises(DataError) as caught:
        READERS[layout](edited(row, path, value), "f:1")
    assert str(caught.value).startswith("f:1: ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)
