"""`read_questions`: recognising files, what no layout may have, limit, hub datasets; every real row reads."""

import json
import logging

import pytest

from mbt_lite.data.questions import read_questions
from mbt_lite.errors import DataError
from mbt_lite.recipe.schema import Questions


def row(number, **changes):
    return {
        "question_id": f"q{number}",
        "question": "Who?",
        "answer": "Ann Lee",
        "aliases": [],
        "documents": [{"title": "Cat", "text": "One.", "is_supporting": True}],
        "source": "mine",
    } | changes


def musique_row(number, **changes):
    return {
        "id": f"2hop__{number}",
        "paragraphs": [{"idx": 0, "title": "Cat", "paragraph_text": "One.", "is_supporting": True}],
        "question": "Who?",
        "answer": "Ann Lee",
        "answer_aliases": [],
    } | changes


def write_lines(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def read(path, **spec):
    return read_questions(Questions(path=str(path), **spec), 0)


def refusal(path, **spec):
    with pytest.raises(DataError) as caught:
        read(path, **spec)
    return str(caught.value).replace(f"{path}", "FILE").split("\n")


REAL = {
    "musique_ans_dev_100.jsonl": (100, "musique"),
    "musique_ans_train_100.jsonl": (100, "musique"),
    "hotpot_dev_distractor_100.json": (100, "hotpot"),
    "hotpot_train_100.json": (100, "hotpot"),
    "hotpot_dev_distractor_50.hf.jsonl": (50, "hotpot"),
    "2wikimultihop_dev_150.json": (150, "2wiki"),
}


@pytest.mark.parametrize("name", REAL)
def test_read_questions_reads_every_real_row(shared_data, name):
    count, source = REAL[name]
    questions = read(shared_data / name)
    assert len(questions) == count
    assert {question.source for question in questions} == {source}
    assert all(any(document.is_supporting for document in question.documents) for question in questions)
    assert all(len(question.documents) >= 2 for question in questions)
    assert all(
        document.text and document.title == document.title.strip() for q in questions for document in q.documents
    )
    assert not any(
        "&amp;" in document.title or "&quot;" in document.title for q in questions for document in q.documents
    )


@pytest.mark.parametrize("name", ["musique_ans_dev_100.jsonl", "musique_ans_train_100.jsonl"])
def test_read_questions_musique_support_is_as_many_paragraphs_as_hops(shared_data, name):
    for question in read(shared_data / name):
        assert sum(document.is_supporting for document in question.documents) == question.hops


def test_read_questions_hotpot_array_and_hub_rows_agree(shared_data):
    raw = {question.question_id: question for question in read(shared_data / "hotpot_dev_distractor_100.json")}
    hub = {question.question_id: question for question in read(shared_data / "hotpot_dev_distractor_50.hf.jsonl")}
    both = raw.keys() & hub.keys()
    assert {i: raw[i] for i in both} == {i: hub[i] for i in both}


def test_read_questions_refuses_real_rows_without_context(shared_data):
    path = shared_data / "2wikimultihop_10_missing_context.json"
    lines = refusal(path)
    assert len(lines) == 10
    assert all(f'FILE: record {n}: missing field "context"' in line for n, line in enumerate(lines, 1))


def test_read_questions_refuses_real_rows_without_paragraphs(shared_data):
    lines = refusal(shared_data / "musique_odd_answers_100.jsonl")
    assert lines[0].startswith("FILE:1: no documents (got an empty list); ")
    assert lines[-1] == "FILE: ... and 90 more"
    assert len(lines) == 11


def test_read_questions_refuses_a_file_of_something_else(shared_data):
    (line,) = refusal(shared_data / "official_scorer_outputs_22.json")
    assert line.startswith("FILE: record 1: no layout has these fields (got pred, gold, musique, ")
    assert "paragraphs (musique)" in line


@pytest.mark.parametrize("as_array", [True, False], ids=["array", "lines"])
@pytest.mark.parametrize("make", [row, musique_row], ids=["mbt", "musique"])
def test_read_questions_tells_array_and_lines_apart(tmp_path, as_array, make):
    rows = [make(1), make(2)]
    path = write_lines(tmp_path / "q", rows)
    if as_array:
        path.write_text("\n " + json.dumps(rows, indent=1), encoding="utf-8")
    assert len(read(path)) == 2


def test_read_questions_skips_blank_lines_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(f"{json.dumps(row(1))}\r\n\n{json.dumps(row(2))}\n", encoding="utf-8-sig")
    assert [question.question_id for question in read(path)] == ["q1", "q2"]


def test_read_questions_line_separator_inside_a_text_is_no_line_break(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(row(1, question="one\u2028two"), ensure_ascii=False) + "\n", encoding="utf-8")
    assert read(path)[0].question == "one\u2028two"


ONE_FAULT = {
    "missing field": (row(2, answer=None), "FILE:2: field \"answer\": is not text (got None); write text"),
    "no documents": (row(2, documents=[]), "FILE:2: no documents (got an empty list); "),
    "gold is an article": (row(2, answer="The"), "FILE:2: answer normalises to nothing (got 'The'); "),
    "gold is punctuation": (row(2, answer="?!"), "FILE:2: answer normalises to nothing (got '?!'); "),
    "duplicate id": (row(1), "FILE:2: id stands twice (got 'q1', first at FILE:1); "),
    "record is a list": ([1], "FILE:2: record: is not an object (got [1]); "),
}  # fmt: skip


@pytest.mark.parametrize(("second", "message"), ONE_FAULT.values(), ids=ONE_FAULT.keys())
def test_read_questions_refuses_with_one_line(tmp_path, second, message):
    (line,) = refusal(write_lines(tmp_path / "q.jsonl", [row(1), second, row(3)]))
    assert line.startswith(message)


def test_read_questions_names_records_of_an_array(tmp_path):
    path = tmp_path / "q.json"
    path.write_text(json.dumps([row(1), row(1)]), encoding="utf-8")
    assert refusal(path)[0].startswith("FILE: record 2: id stands twice (got 'q1', first at FILE: record 1); ")


def test_read_questions_reports_all_faults_in_file_order(tmp_path):
    path = write_lines(tmp_path / "q.jsonl", [row(1), row(2, answer="the"), row(3)])
    path.write_text(path.read_text(encoding="utf-8") + "{broken\n" + json.dumps(row(1)) + "\n", encoding="utf-8")
    lines = refusal(path)
    assert [line.split(": ")[0] for line in lines] == ["FILE:2", "FILE:4", "FILE:5"]
    assert "not JSON (Expecting property name" in lines[1]
    assert "got '{broken'" in lines[1]


@pytest.mark.parametrize(("n_faults", "n_lines"), [(10, 10), (11, 11), (25, 11)])
def test_read_questions_shows_ten_faults_and_counts_the_rest(tmp_path, n_faults, n_lines):
    lines = refusal(write_lines(tmp_path / "q.jsonl", [row(n, answer="?") for n in range(n_faults)]))
    assert len(lines) == n_lines
    assert n_faults == 10 or lines[-1] == f"FILE: ... and {n_faults - 10} more"


@pytest.mark.parametrize("content", ["\n \n", "[]"], ids=["blank", "empty array"])
def test_read_questions_refuses_a_file_without_records(tmp_path, content):
    path = tmp_path / "q.jsonl"
    path.write_text(content, encoding="utf-8")
    assert refusal(path) == ["FILE: holds no question (got no records); name another file"]


def test_read_questions_refuses_a_broken_array(tmp_path):
    path = tmp_path / "q.json"
    path.write_text('[{"a": 1},\n{"a": ]', encoding="utf-8")
    assert refusal(path) == ["FILE:2: not JSON (Expecting value); mend or re-download the file"]


def test_read_questions_refuses_another_encoding(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_bytes((json.dumps(row(1)) + "\n").encode() + '{"question": "Où?"}\n'.encode("latin-1"))
    assert refusal(path) == ["FILE:2: not UTF-8 (got byte 0xf9); save or convert the file as UTF-8"]


def test_read_questions_suggests_a_file_of_the_folder(tmp_path):
    write_lines(tmp_path / "train.jsonl", [row(1)])
    assert refusal(tmp_path / "trian.jsonl") == [f"FILE: no such file; did you mean {tmp_path / 'train.jsonl'}?"]


def test_read_questions_lists_the_folder_when_nothing_is_near(tmp_path):
    for name in "abcdef":
        (tmp_path / name).touch()
    assert refusal(tmp_path / "questions.jsonl") == ["FILE: no such file; its folder holds a, b, c, d, e, ..."]


def test_read_questions_lists_an_empty_folder(tmp_path):
    assert refusal(tmp_path / "questions.jsonl") == ["FILE: no such file; its folder holds no files"]


def test_read_questions_says_that_the_folder_is_missing(tmp_path):
    (line,) = refusal(tmp_path / "no" / "q.jsonl")
    assert f"there is no folder {tmp_path / 'no'} either" in line


def test_read_questions_refuses_a_folder(tmp_path):
    assert refusal(tmp_path)[0].startswith("FILE: cannot be read (Is a directory); ")


def test_read_questions_refuses_a_split_of_a_file(tmp_path):
    assert refusal(tmp_path / "q", split="train") == ["FILE: a file has no splits (got split 'train'); remove `split`"]


def test_read_questions_named_layout_is_not_recognised_anew(tmp_path):
    path = write_lines(tmp_path / "q.jsonl", [row(1)])
    assert refusal(path, layout="musique")[0].startswith('FILE:1: missing field "id"')


def test_read_questions_leaves_out_unanswerable_rows_and_says_how_many(tmp_path, caplog):
    rows = [musique_row(1), musique_row(1, answerable=False), musique_row(2, answerable=True)]
    path = write_lines(tmp_path / "q.jsonl", rows)
    with caplog.at_level(logging.WARNING):
        assert len(read(path)) == 2
    assert caplog.messages == [f"{path}: left out 1 records that say `answerable: false`"]


def test_read_questions_refuses_a_file_of_unanswerable_rows(tmp_path):
    path = write_lines(tmp_path / "q.jsonl", [musique_row(1, answerable=False)])
    assert refusal(path) == ["FILE: holds no question (got 1 records, all `answerable: false`); name another file"]


def test_read_questions_limit_keeps_file_order_and_follows_the_seed(tmp_path):
    path = write_lines(tmp_path / "q.jsonl", [row(n) for n in range(50)])
    spec = Questions(path=str(path), limit=10)
    first, again, other = (
        [int(question.question_id[1:]) for question in read_questions(spec, seed)] for seed in (1, 1, 2)
    )
    assert first == again == sorted(first)
    assert len(set(first)) == 10
    assert other != first


def test_read_questions_limit_of_all_keeps_all(tmp_path):
    path = write_lines(tmp_path / "q.jsonl", [row(n) for n in range(5)])
    assert read(path, limit=5) == read(path)


def test_read_questions_refuses_a_limit_above_the_count(tmp_path):
    path = write_lines(tmp_path / "q.jsonl", [row(1)])
    assert refusal(path, limit=2) == ["FILE: only 1 questions (got limit 2); lower or remove `limit`"]


AFTER_ALL = {
    "a second array": ('[{"a": 1}]\n[2]', "FILE: not JSON (after its array, got '[2]'); mend or re-download the file"),
    "a comma too many": ("[1,\n ]", "FILE:2: not JSON (Expecting value); mend or re-download the file"),
    "no end": ('\n[{"a": 1},\n\n', "FILE:4: not JSON (Expecting value); mend or re-download the file"),
}


@pytest.mark.parametrize(("content", "told"), AFTER_ALL.values(), ids=AFTER_ALL.keys())
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_read_questions_refuses_a_broken_end_of_an_array(tmp_path, monkeypatch, chunk, content, told):
    monkeypatch.setattr("mbt_lite.data.stream.CHUNK_CHARACTERS", chunk)
    path = tmp_path / "q.json"
    path.write_text(content, encoding="utf-8")
    assert refusal(path) == [told]
