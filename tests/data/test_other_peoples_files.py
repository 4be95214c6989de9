"""Files as other tools write them: read, or named for what they are in one line, by questions and by `score`."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import zipfile
from pathlib import Path

import pytest

from mbt_lite.data.predictions import iter_predictions
from mbt_lite.data.questions import read_questions
from mbt_lite.data.stream import iter_records
from mbt_lite.errors import DataError
from mbt_lite.recipe.schema import Questions


def row(name: str, **changes: object) -> dict[str, object]:
    documents = [{"title": "Cat", "text": "A cat ran.", "is_supporting": True}]
    made = {"question_id": name, "question": f"Who is {name}?", "answer": "Ann Lee", "aliases": ["Ann"]}
    return made | {"documents": documents, "source": "mine"} | changes


ROWS = [row("a"), row("b"), row("c")]


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path) -> list[str]:
    return [question.question_id for question in read_questions(Questions(path=str(path)), 0)]


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    return str(caught.value).replace(str(path), "FILE")


def column_oriented(rows: list[dict[str, object]], keyed: bool) -> dict[str, object]:
    columns = {name: [one[name] for one in rows] for name in rows[0]}
    return {name: {str(n): v for n, v in enumerate(column)} if keyed else column for name, column in columns.items()}


READ = {
    "an object with the rows in it": json.dumps({"version": "1.1", "data": ROWS}),
    "the same over many lines": json.dumps({"version": "1.1", "data": ROWS}, indent=1),
    "the rows under another name": json.dumps({"split": "train", "examples": ROWS, "n": 3}, indent=4),
    "df.to_json()": json.dumps(column_oriented(ROWS, keyed=True)),
    "Dataset.to_dict()": json.dumps(column_oriented(ROWS, keyed=False)),
    "df.to_json(orient=index)": json.dumps({str(n): one for n, one in enumerate(ROWS)}),
    "df.to_json(orient=split)": json.dumps(
        {"columns": list(ROWS[0]), "index": [0, 1, 2], "data": [list(one.values()) for one in ROWS]}
    ),
    "df.to_json(orient=table)": json.dumps({"schema": {"fields": [{"name": "x"}]}, "data": ROWS}),
    "objects over many lines each, as jq writes them": "\n".join(json.dumps(one, indent=2) for one in ROWS),
    "records by their ids": json.dumps(
        {one["question_id"]: {name: value for name, value in one.items() if name != "question_id"} for one in ROWS}
    ),
    "marks of no width around texts": "\n".join(
        json.dumps(one | {"question_id": f"\ufeff{one['question_id']}\u200b", "answer": "\ufeffAnn Lee \u2060"})
        for one in ROWS
    ),
    "blank lines first": "\n\n" + json.dumps({"data": ROWS}, indent=2) + "\n\n",
    "documents in columns": "\n".join(
        json.dumps(one | {"documents": {"title": ["Cat"], "text": ["It ran."], "is_supporting": [True]}})
        for one in ROWS
    ),
}


@pytest.mark.parametrize("content", READ.values(), ids=READ)
def test_read_questions_reads_what_other_tools_write(tmp_path: Path, content: str) -> None:
    path = written(tmp_path / "q.json", content)
    assert read(path) == ["a", "b", "c"]
    assert {question.answer for question in read_questions(Questions(path=str(path)), 0)} == {"Ann Lee"}


@pytest.mark.parametrize("indent", [None, 2], ids=["on a line", "over many"])
def test_a_file_of_one_record_is_that_record(tmp_path: Path, indent: int | None) -> None:
    assert read(written(tmp_path / "q.json", json.dumps(row("a"), indent=indent))) == ["a"]


def test_read_questions_reads_what_pandas_itself_writes(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="datasets brings it")
    frame = pandas.DataFrame(ROWS)
    for orient in ("columns", "index", "split", "records"):
        frame.to_json(tmp_path / "q.json", orient=orient)
        assert read(tmp_path / "q.json") == ["a", "b", "c"], orient


def zipped() -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("q.jsonl", json.dumps(ROWS[0]))
    return memory.getvalue()


LINES = "".join(json.dumps(one) + "\n" for one in ROWS)
NAMED = {
    "nothing": (b"", "is empty (got 0 bytes); "),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "is no JSON (got a Git LFS pointer, not the file); `git lfs pull` brings it",
    ),
    "gzip": (gzip.compress(LINES.encode()), "is no JSON (got gzip); unpack it"),
    "bzip2": (bz2.compress(LINES.encode()), "is no JSON (got bzip2); unpack it"),
    "xz": (lzma.compress(LINES.encode()), "is no JSON (got xz); unpack it"),
    "zip": (zipped(), "is no JSON (got a zip archive or a workbook); unpack it"),
    "pickle": (pickle.dumps(ROWS), "is no JSON (got a pickle, which is never opened); convert it"),
    "a web page": (b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", "is no JSON (got a web page or XML); "),
    "UTF-16": (LINES.encode("utf-16"), "is no JSON (got UTF-16); save it as UTF-8"),
    "UTF-16 without a mark": (LINES.encode("utf-16-le"), "is no JSON (got NUL bytes: UTF-16, "),
    "a file lost in a crash": (b"\0" * 500, "is no JSON (got NUL bytes: "),
    "CSV": (b'question_id,question,answer\r\na,"Who, then?",Ann\r\n', "is no JSON (got CSV or TSV); convert it"),
    "TSV": (b"id\tquestion\tanswer\na\tWho?\tAnn\n", "is no JSON (got CSV or TSV); convert it"),
}


@pytest.mark.parametrize(("content", "told"), NAMED.values(), ids=NAMED)
def test_read_questions_names_what_is_no_json(tmp_path: Path, content: bytes, told: str) -> None:
    found = refusal(written(tmp_path / "q.jsonl", content))
    assert found.startswith(f"FILE: {told}")
    assert "\n" not in found


def test_read_questions_names_what_datasets_writes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the train extra")
    rows = datasets.Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "saved")
    [made] = (tmp_path / "saved").glob("*.arrow")
    made.rename(tmp_path / "q")
    assert refusal(tmp_path / "q").startswith("FILE: is no JSON (got Arrow); convert it to JSONL")


BROKEN = {
    "a field twice": (LINES + '{"id": "d", "id": "d"}\n', "FILE:4: field 'id' stands twice in one object (got "),
    "a field twice in an array": ('[{"a": "x", "a": "y"}]', "FILE: record 1: field 'a' stands twice in one object; "),
    "a field twice over many lines": ('{\n"data": [\n{"a": 1, "a": 2}]}', "FILE:1: field 'a' stands twice in one "),
    "a torn object over many lines": ('{\n "data": [\n  {"a": 1},\n', "FILE:3: not JSON (Expecting value); "),
    "a merge marker": (LINES + "<<<<<<< HEAD\n", "FILE:4: not JSON (Expecting value, got '<<<<<<< HEAD'); "),
    "two objects on a line": (LINES + '{"a": 1}{"b": 2}\n', "FILE:4: not JSON (Extra data, got "),
    "a first line cut off": ('{"question_id": "a",\n' + LINES, "FILE:1: not JSON (Expecting property name"),
    "nested beyond reading": ("[" * 100_000, "FILE: record 1: nested too deeply; "),
    "nested beyond reading on a line": (LINES + '{"a":' * 100_000, "FILE:4: nested too deeply (got "),
    "a number beyond reading": (LINES + '{"a": ' + "1" * 5000 + "}", "FILE:4: Exceeds the limit (4300 digits) "),
    "columns that differ": ('{"id": ["a", "b"], "answer": ["x"]}', "FILE:1: no layout has these fields (got id,"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "told"), BROKEN.values(), ids=BROKEN)
def test_read_questions_names_the_place_of_what_is_broken(tmp_path: Path, content: str, told: str) -> None:
    assert refusal(written(tmp_path / "q.json", content)).startswith(told)


HALF = "so it was \\ud83d"


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        pytest.param(f'"question": "{HALF}"', 'field "question"', id="question"),
        pytest.param(f'"aliases": ["Ann", "{HALF}"]', 'field "aliases", item 2', id="alias"),
        pytest.param(
            f'"documents": [{{"title": "Cat", "text": "{HALF}", "is_supporting": true}}]',
            'document 1: field "text"',
            id="document",
        ),
    ],
)
def test_read_questions_refuses_half_a_character_by_line(tmp_path: Path, changed: str, place: str) -> None:
    name = json.loads(f"{{{changed}}}").keys()
    kept = {field: value for field, value in ROWS[1].items() if field not in name}
    broken = json.dumps(kept).removesuffix("}") + f", {changed}}}"
    path = written(tmp_path / "q.jsonl", f"{json.dumps(ROWS[0])}\n{broken}\n")
    assert refusal(path) == (
        f"FILE:2: {place}: holds half a character (got 'so it was \\ud83d'); mend the text where it was cut"
    )


def test_a_whole_pair_of_escapes_is_a_character(tmp_path: Path) -> None:
    path = written(tmp_path / "q.jsonl", json.dumps(row("a", question="Who is 🤔?")))
    assert "\\ud83e" in path.read_text()
    assert read(path) == ["a"]


ANSWERS = {"a": "Ann Lee", "b": "Bo", "c": None}
PREDICTIONS = {
    "official": json.dumps({"answer": ANSWERS, "sp": {}}),
    "SQuAD's": json.dumps(ANSWERS, indent=4),
    "columns": json.dumps({"id": {"0": "a", "1": "b", "2": "c"}, "answer": dict(zip("012", ANSWERS.values()))}),  # noqa: B905
    "records by their ids": json.dumps({name: {"answer": text} for name, text in ANSWERS.items()}),
    "wrapped": json.dumps({"model": "m", "results": [{"id": name, "answer": text} for name, text in ANSWERS.items()]}),
}


@pytest.mark.parametrize("content", PREDICTIONS.values(), ids=PREDICTIONS)
def test_iter_predictions_reads_what_other_tools_write(tmp_path: Path, content: str) -> None:
    found = iter_predictions(written(tmp_path / "p.json", content))
    assert {given.question_id: given.answer for given in found} == ANSWERS


@pytest.mark.parametrize("content", ['{"id": "a", "answer": "x"}', '{"_id": "a", "answer": "x", "text": "y"}\n'])
def test_one_prediction_is_no_official_file(tmp_path: Path, content: str) -> None:
    [given] = iter_predictions(written(tmp_path / "p.json", content))
    assert (given.question_id, given.answer) == ("a", "x")


def test_iter_predictions_drops_nothing_after_an_official_object(tmp_path: Path) -> None:
    one = json.dumps({"answer": ANSWERS})
    with pytest.raises(DataError, match=r"p.json:1: no id \(got answer\)"):
        list(iter_predictions(written(tmp_path / "p.json", f"{one}\n{one}\n")))


def test_iter_predictions_names_few_of_many_fields(tmp_path: Path) -> None:
    many = {f"q{n}": n for n in range(5000)}
    with pytest.raises(DataError, match=r"no id \(got q0, .* q11, ... \(5000 in all\)\)"):
        list(iter_predictions(written(tmp_path / "p.json", json.dumps(many))))


def test_iter_records_gives_the_records_of_wrapped_rows_their_places(tmp_path: Path) -> None:
    path = written(tmp_path / "q.json", json.dumps({"data": [{"a": 1}, {"a": 2}]}))
    assert list(iter_records(path)) == [(f"{path}: record 1", {"a": 1}), (f"{path}: record 2", {"a": 2})]


LISTED = {
    "hotpot": {
        "_id": "a", "question": "Who?", "answer": "Ann", "type": "bridge", "level": "easy",
        "supporting_facts": [{"title": "Cat", "sent_id": 0}],
        "context": [{"title": "Cat", "sentences": ["One.", " Two."]}, {"title": "Cow", "sentences": ["Three."]}],
    },
    "musique": {
        "id": "2hop__a", "question": "Who?", "answer": "Ann", "answer_aliases": [],
        "paragraphs": {"idx": [1, 0], "title": ["Cow", "Cat"], "paragraph_text": ["Three.", "One. Two."],
                       "is_supporting": [False, True]},
    },
}  # fmt: skip


@pytest.mark.parametrize("source", LISTED)
def test_read_questions_reads_lists_and_columns_alike(tmp_path: Path, source: str) -> None:
    [question] = read_questions(Questions(path=str(written(tmp_path / "q.json", json.dumps(LISTED[source])))), 0)
    assert question.source == source
    assert [(one.title, one.text, one.is_supporting) for one in question.documents] == [
        ("Cat", "One. Two.", True),
        ("Cow", "Three.", False),
    ]
