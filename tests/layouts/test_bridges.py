"""Gold intermediate results: what each layout takes for them, on rows of the datasets themselves; never a guess."""

import collections
import json
from pathlib import Path

import pytest

from mbt_lite.data.questions import read_questions
from mbt_lite.data.synthetic import FILES, generate_questions
from mbt_lite.errors import DataError
from mbt_lite.layouts import LAYOUTS
from mbt_lite.recipe.schema import Questions
from mbt_lite.records import Question, from_row, to_row
from mbt_lite.rewards.mentions import contains_words
from mbt_lite.run_dir import RunDir
from mbt_lite.text.normalize import normalize

ROOT = Path(__file__).parents[2]
# SHA-256 of the shipped files as they were before questions had bridges
BEFORE = {
    "demo_train": "a44bd6b7edbe39507bce01abc9b9ea36f0cf345fc92607cf8adf443e40e5e0d0",
    "demo_dev": "c867936a7939cc51b5480c12a72e293c27374497b163ce5524dec52443cb2efc",
    "multihop_train": "caa1748a2e9d8f8933164fa8d937efd267d92863eb44e1dd7141902f281a6cba",
    "multihop_dev": "ee121b77932103709bdfe0ef6bf9118ffdc1152773139ea67613ba61109e4ebb",
}


def read(folder: Path, name: str) -> list[Question]:
    return read_questions(Questions(path=str(folder / name)), 0)


def counts(questions: list[Question], kind: str) -> dict[int, int]:
    return collections.Counter(len(one.bridges) for one in questions if one.question_type == kind)


def asked(question: Question) -> list[str]:
    return [one for one in question.bridges if contains_words(normalize(question.question), normalize(one))]


def stands_in(question: Question) -> list[str]:
    texts = [f"{document.title} {document.text}" for document in question.documents if document.is_supporting]
    return [bridge for bridge in question.bridges if any(bridge in text for text in texts)]


def test_musique_has_the_answers_of_its_steps_but_the_last(shared_data: Path) -> None:
    questions = read(shared_data, "musique_ans_train_100.jsonl")
    assert sum(len(one.bridges) for one in questions) == 137
    assert all(len(one.bridges) == one.hops - 1 for one in questions if one.hops)
    assert sum(len(stands_in(one)) for one in questions) == 137
    assert not any(asked(one) or one.bridges_are_titles for one in questions)
    assert not any(one.answer in one.bridges for one in questions)


def test_2wiki_has_the_objects_that_are_neither_asked_nor_answered(shared_data: Path) -> None:
    questions = read(shared_data, "2wikimultihop_dev_150.json")
    assert sum(len(one.bridges) for one in questions) == 282
    assert sum(len(stands_in(one)) for one in questions) == 282
    assert not any(asked(one) or one.answer in one.bridges for one in questions)
    assert counts(questions, "inference") == {1: 22}
    assert counts(questions, "bridge_comparison") == {3: 2, 4: 34}


def test_hotpotqa_has_titles_in_their_place(shared_data: Path) -> None:
    questions = read(shared_data, "hotpot_train_100.json")
    assert counts(questions, "bridge") == {0: 17, 1: 47, 2: 14}
    assert counts(questions, "comparison") == {0: 22}
    assert all(one.bridges_are_titles is bool(one.bridges) for one in questions)
    assert not any(asked(one) or one.answer in one.bridges for one in questions)
    assert any(one.bridges_are_titles for one in read(shared_data, "hotpot_dev_distractor_50.hf.jsonl"))


def test_synthetic_questions_have_the_inner_entities_and_the_years() -> None:
    for file in FILES:
        for question in generate_questions(file):
            assert (
                len(question.bridges)
                == {"bridge": question.hops - 1, "comparison": 2, "bridge_comparison": 3}[str(question.question_type)]
            )
            assert stands_in(question) == list(question.bridges)
            assert not asked(question)
            assert question.answer not in question.bridges
            assert question.bridges_are_titles is False


def test_a_dataset_that_says_nothing_has_no_bridges() -> None:
    documents = [["Ann", ["Ann was born in Oslo."]]]
    row = {"_id": "a", "question": "Where?", "answer": "Oslo", "context": documents, "supporting_facts": []}
    assert LAYOUTS["2wiki"].read(row | {"evidences": []}, "a:1").bridges == ()
    assert LAYOUTS["hotpot"].read(row | {"type": "bridge"}, "a:1").bridges == ()
    own = json.loads(json.dumps(to_row(LAYOUTS["2wiki"].read(row, "a:1"))))
    assert LAYOUTS["mbt"].read({key: own[key] for key in own if "bridges" not in key}, "a:1").bridges == ()


@pytest.mark.parametrize("fact", [["Ann", "born"], "Ann", ["Ann", "born", 7]])
def test_a_fact_that_is_no_triple_is_named_by_its_place(fact: object) -> None:
    row = {"_id": "a", "question": "Where?", "answer": "Oslo", "context": [["Ann", ["x"]]], "supporting_facts": []}
    with pytest.raises(DataError, match=r'a:1: field "evidences", item 2'):
        LAYOUTS["2wiki"].read(row | {"evidences": [["a", "b", "c"], fact]}, "a:1")


def test_a_step_without_its_answer_is_named() -> None:
    row = {"id": "2hop__1_2", "question": "Where?", "answer": "Oslo", "answer_aliases": [], "paragraphs": []}
    with pytest.raises(DataError, match=r'a:1: step 1: missing field "answer"'):
        LAYOUTS["musique"].read(row | {"question_decomposition": [{"id": 1}, {"answer": "Oslo"}]}, "a:1")


@pytest.mark.parametrize("name", BEFORE)
def test_the_shipped_files_are_to_a_run_what_they_were(name: str, tmp_path: Path) -> None:
    path = ROOT / f"data_samples/{name}.jsonl"
    assert list(RunDir(tmp_path).fingerprint_source(str(path), lambda: [])) == [str(path)]
    assert RunDir(tmp_path).fingerprint_source(str(path), lambda: []) == {str(path): BEFORE[name]}


def test_records_of_a_hub_are_to_a_run_what_they_were(tmp_path: Path) -> None:
    one = generate_questions(FILES[0])[0]
    old = Question(**{key: getattr(one, key) for key in to_row(one) if "bridges" not in key})
    marks = [RunDir(tmp_path).fingerprint_source("hub:a/b", lambda q=q: [q]) for q in (one, old)]
    assert marks[0] == marks[1]
    other = Question(**{**{key: getattr(old, key) for key in to_row(old)}, "answer": "Oslo"})
    assert RunDir(tmp_path).fingerprint_source("hub:a/b", lambda: [other]) != marks[0]


def test_a_question_written_before_reads(tmp_path: Path) -> None:
    one = generate_questions(FILES[0])[0]
    row = json.loads(json.dumps(to_row(one)))
    del row["bridges"], row["bridges_are_titles"]
    assert from_row(Question, row, "a:1").bridges == ()
