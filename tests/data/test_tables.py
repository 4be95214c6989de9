"""Tables as questions: CSV as spreadsheets write it, Parquet as pyarrow and pandas do."""

from pathlib import Path

import pytest

from mbt_lite.data.questions import read_questions
from mbt_lite.errors import DataError
from mbt_lite.recipe.schema import Questions
from mbt_lite.records import Question


def read(path: Path) -> list[Question]:
    return read_questions(Questions(path=str(path)), 0)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_is_read_by_its_header(separator: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    rows = ["\ufeffid,question,answer,hops", '7,"Who, ""then""?\nAnd why?",Ann,2', "", "8,Where?,Oakford,"]
    path.write_bytes(end.join(rows).replace(",", separator).replace(f"Who{separator}", "Who,").encode())
    one, other = read(path)
    assert one.question.replace("\r", "") == 'Who, "then"?\nAnd why?'
    assert (one.question_id, one.answer, one.hops) == ("7", "Ann", 2)
    assert (other.question_id, other.hops) == ("8", None)


def test_csv_counts_lines_as_an_editor_does(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text('question,answer\n"Two\nlines?",Ann\nWhere?,\nWho?,Bo,too much\n')
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).splitlines() == [
        f'{path}:4: missing field "answer" (got question); add it',
        f"{path}:5: 3 cells (the header has 2); quote cells that hold the separator",
    ]


REFUSED = {
    "no header": ("1,2\n3,4\n", "no layout has these fields (got 1, 2)"),
    "one name twice": ("question,question\na,b\n", "no header of different names"),
    "an open quote": ('question,answer\n"Who?,Ann\n', "not CSV (unexpected end of data)"),
    "nothing": ("", "no header of different names"),
    "a header alone": ("question,answer\n", "holds no question"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_csv_that_cannot_be_read_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_csv_of_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes("question,answer\nO\u00f9?,Orl\u00e9ans\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"not UTF-8"):
        read(path)


def test_parquet_is_read_with_lists_and_nulls(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the training stack: pip install 'mbt-lite[train]'")
    from pyarrow import parquet

    table = pyarrow.table(
        {"question": ["Who?", "Where?"], "answer": ["Ann", "Oakford"], "documents": [["One.", "Two."], None]}
    )
    # its name does not matter
    path = tmp_path / "train-00000-of-00001"
    parquet.write_table(table, path)
    assert [len(question.documents) for question in read(path)] == [2, 0]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not whole Parquet"):
        read(path)
