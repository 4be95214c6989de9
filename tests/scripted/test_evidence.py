"""The search for facts, on hand-made documents and on the supporting documents of the synthetic rows."""

import pytest

from mbt_lite.data.questions import read_questions
from mbt_lite.recipe.schema import Questions
from mbt_lite.scripted.evidence import Search, read_facts, split_sentences
from mbt_lite.text.names import fold, read_names

DOCUMENTS = [
    ("Silent Garden", "Silent Garden was directed by Nora Vale."),
    ("Otto Quill", "Otto Quill was born in Oakham."),
    ("Nora Vale", "Nora Vale was born in Millbrook. Nora Vale studied at Hill School."),
    ("Golden River", "Golden River was directed by Otto Quill."),
]


def found(question: str, gold: str) -> list[tuple[int, str]]:
    return [(fact.document, fact.text) for fact in Search(DOCUMENTS, question, gold).run().facts]


def test_run_follows_the_link_to_the_gold() -> None:
    assert found("Where was the director of Silent Garden born?", "Millbrook") == [
        (1, "Silent Garden was directed by Nora Vale."),
        (3, "Nora Vale was born in Millbrook."),
    ]


def test_run_takes_the_chain_of_the_question_not_the_parallel_one() -> None:
    assert [number for number, _ in found("Where was the director of Golden River born?", "Oakham")] == [4, 2]


def test_run_compares_one_fact_per_thing() -> None:
    documents = [("Blue Fox", "Blue Fox came out in 1950."), ("Far Hill", "Far Hill came out in 1920."), *DOCUMENTS]
    findings = Search(documents, "Which film came out earlier, Blue Fox or Far Hill?", "Far Hill").run()
    assert findings.is_comparison
    assert findings.subjects == ("Blue Fox", "Far Hill")
    assert [[fact.document for fact in chain] for chain in findings.chains] == [[1], [2]]


def test_run_without_the_gold_says_that_it_is_incomplete() -> None:
    findings = Search(DOCUMENTS, "Where was the director of Silent Garden born?", "Atlantis").run()
    assert not findings.is_complete
    assert findings.facts


def test_run_without_documents_finds_nothing() -> None:
    assert Search([], "Who?", "Nora").run().facts == ()


@pytest.mark.parametrize(
    ("text", "folded"),
    [("The Tekezé River's", "tekeze river"), ("Hitler'S Folly", "hitler folly"), ("Łódź!", "łodz"), ("", "")],
)
def test_fold_drops_accents_possessives_and_articles(text: str, folded: str) -> None:
    assert fold(text) == folded


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("He met G. Stanley Hall. Then he left.", ["He met G. Stanley Hall.", "Then he left."]),
        ("It lies in St. Louis. It is old.", ["It lies in St. Louis.", "It is old."]),
        ("One", ["One"]),
        ("", []),
    ],
    ids=["initial", "abbreviation", "no end", "nothing"],
)
def test_split_sentences_keeps_abbreviations_whole(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_read_names_leaves_sentence_openers_out() -> None:
    assert read_names("The director of Silent Garden met Nora Vale in 1950.") == ["Silent Garden", "Nora Vale", "1950"]


def test_read_facts_counts_documents_from_one_and_names_the_title() -> None:
    facts = read_facts([("Henry King (director)", "He was born in Ohio.")])
    assert facts[0].document == 1
    assert facts[0].names == {"henry king", "ohio"}


@pytest.mark.parametrize("name", ["demo_train", "demo_dev", "multihop_train", "multihop_dev"])
def test_run_finds_exactly_the_supporting_documents_of_synthetic_rows(name: str) -> None:
    questions = read_questions(Questions(path=f"data_samples/{name}.jsonl"), 0)[:80]
    exact = 0
    for question in questions:
        documents = [(document.title, document.text) for document in question.documents]
        facts = Search(documents, question.question, question.answer).run().facts
        wanted = {number for number, document in enumerate(question.documents, 1) if document.is_supporting}
        exact += {fact.document for fact in facts} == wanted
    assert exact / len(questions) >= 0.97, f"{exact} of {len(questions)}"
