import json
from pathlib import Path

import pytest

from mbt_lite.chat.documents import read_documents, read_file
from mbt_lite.errors import DataError
from mbt_lite.records import Document

ROOT = Path(__file__).parents[2]


def test_read_documents_takes_numbers_off_and_gives_titles() -> None:
    pasted = ["[1] Judy Rice: Judy Rice was born in Oakford.", "", "  Oakford: A town: small. ", "It has no title."]
    assert read_documents(pasted) == (
        Document("Judy Rice", "Judy Rice was born in Oakford.", False),
        Document("Oakford", "A town: small.", False),
        Document("Document 3", "It has no title.", False),
    )


def test_read_documents_reads_what_the_prompt_shows() -> None:
    from mbt_lite.data.questions import read_questions
    from mbt_lite.prompts import number_documents
    from mbt_lite.recipe.schema import Questions

    for question in read_questions(Questions(path=str(ROOT / "data_samples/demo_dev.jsonl"), limit=20), 0):
        read = read_documents(number_documents(question.documents).splitlines())
        assert [(one.title, one.text) for one in read] == [(one.title, one.text) for one in question.documents]


def test_read_file_reads_questions_of_a_question_file(tmp_path: Path) -> None:
    lines = (ROOT / "data_samples/demo_dev.jsonl").read_text().splitlines()[:2]
    (tmp_path / "q.jsonl").write_text("\n".join(lines))
    read = read_file(tmp_path / "q.jsonl")
    assert isinstance(read, list)
    assert [one.question_id for one in read] == [json.loads(line)["question_id"] for line in lines]


@pytest.mark.parametrize("name", ["q.csv", "q.TSV", "q.JSONL"])
def test_read_file_reads_questions_of_every_question_file(name: str, tmp_path: Path) -> None:
    row = {"question": "Who?", "answer": "Ann"}
    lines = [json.dumps(row)] if name == "q.JSONL" else ["\t".join(row), "\t".join(row.values())]
    (tmp_path / name).write_text("\n".join(lines))
    [read] = read_file(tmp_path / name)
    assert (read.question, read.answer) == ("Who?", "Ann")


def test_read_file_splits_documents_at_line_breaks_alone(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_bytes("\ufeffOslo: A\u2028town.\r\nRome: A city.".encode())
    assert [one.title for one in read_file(tmp_path / "d.txt")] == ["Oslo", "Rome"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "cannot be read"), (b"\xff\xfe\x00", "cannot be read"), (b"\n \n", "no documents")],
    ids=["missing", "no UTF-8", "empty"],
)
def test_read_file_names_what_is_wrong(content, problem, tmp_path: Path) -> None:
    path = tmp_path / "documents.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"documents.txt: {problem}"):
        read_file(path)
