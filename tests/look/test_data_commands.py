"""`mbt-lite data` on files as people have them: fifteen kinds, and what each is told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mbt_lite.cli import app

ROWS = [{"question": f"What is {n} + {n}?", "answer": str(2 * n), "topic": "sums"} for n in range(1, 21)]
GSM8K = {"question": "Natalia sold 48 clips, then half as many. How many?", "answer": "48/2 = 24\n48+24 = 72\n#### 72"}
DOCUMENTS = {
    "question": "Where was Judy Rice born?",
    "answer": "Oakford",
    "documents": ["Judy Rice was born in Oakford."],
}
HOTPOT = {
    "_id": "a", "question": "Who?", "answer": "Ann", "type": "bridge", "level": "hard",
    "supporting_facts": [["T", 0]], "context": [["T", ["Ann is."]], ["U", ["Bo is."]]],
}  # fmt: skip


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the training stack: pip install 'mbt-lite[train]'")
    from pyarrow import parquet as writer

    writer.write_table(pyarrow.Table.from_pylist(ROWS), path)


GOOD: dict[str, tuple[str, str | Callable[[Path], None], list[str]]] = {
    "JSONL": ("a.jsonl", lines(*ROWS), ["20 questions, layout plain", "20 compared as number", "not read: topic (20)"]),
    "an array": ("a.json", json.dumps(ROWS), ["20 questions, layout plain"]),
    "CSV": ("a.csv", "question,answer,topic\nWho?,Ann,x\n", ["1 questions, layout plain", "not read: topic (1)"]),
    "TSV": ("a.tsv", "id\tquestion\tanswer\n1\tWho?\tAnn\n", ["1 questions, layout plain", "1 compared as text"]),
    "Parquet": ("a.parquet", parquet, ["20 questions, layout plain"]),
    "GSM8K": ("a.jsonl", lines(GSM8K), ["1 compared as number", "1 of 1 questions have none: they are"]),
    "documents": ("a.jsonl", lines(DOCUMENTS), ["documents: 1 to 1 a question", "documents: not known of 1"]),
    "HotpotQA": ("a.json", json.dumps([HOTPOT]), ["1 questions, layout hotpot", "documents: 2 to 2 a question"]),
    "one object": ("a.json", json.dumps({"data": ROWS}), ["20 questions, layout plain"]),
    "pandas' columns": (
        "a.json", json.dumps({"question": {"0": "Who?"}, "answer": {"0": "Ann"}}), ["1 questions, layout plain"],
    ),
}  # fmt: skip
BROKEN: dict[str, tuple[str, str, str]] = {
    "an answer is missing": (
        "a.jsonl",
        lines(ROWS[0], {"question": "Who?", "answer": ""}),
        'a.jsonl:2: field "answer" is',
    ),
    "a line is cut": ("a.jsonl", lines(ROWS[0]) + '{"question": "Wh', "a.jsonl:2: not JSON ("),
    "a question stands twice": ("a.jsonl", lines(ROWS[0], ROWS[1], ROWS[0]), "a.jsonl:3: id stands twice (got 'q-"),
    "no column of answers": (
        "a.csv",
        "question,reply\nWho?,Ann\n",
        "a.csv:2: no layout has these fields (got question, rep",
    ),
    "a slip in a name": ("a.jsonl", lines(DOCUMENTS | {"question_typ": "x"}), "did you mean question_type?"),
}


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, ["data", *words])


@pytest.mark.parametrize(("name", "content", "told"), GOOD.values(), ids=GOOD.keys())
def test_check_tells_what_is_read(
    name: str, content: str | Callable[[Path], None], told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content(Path(name)) if callable(content) else Path(name).write_text(content)
    result = invoke("check", name)
    assert result.exit_code == 0, result.output
    assert all(one in result.stdout for one in told), result.stdout


@pytest.mark.parametrize(("name", "content", "told"), BROKEN.values(), ids=BROKEN.keys())
def test_check_names_what_is_broken_by_its_line(
    name: str, content: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(content)
    result = invoke("check", name)
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_check_counts_by_the_student_and_against_another_file(student_folder: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    one.write_text(lines(*ROWS, {"question": "Why? " * 400, "answer": "So", "documents": ["Because. " * 50] * 3}))
    other.write_text(lines(ROWS[3], {"question": "Else?", "answer": "Yes"}))
    result = invoke(
        "check", str(one), "--model", str(student_folder), "--max-prompt-tokens", "700", "--against", str(other)
    )
    assert result.exit_code == 0, result.output
    assert "tokens in the middle, " in result.stdout
    assert "within 700 tokens: 0 documents are dropped, 1 questions left out (q-" in result.stdout
    assert "1 of 21 dev questions stand in train too" in result.stdout


def test_check_refuses_control_tokens_by_line(student_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines(ROWS[0], {"question": "Who <|im_end|>?", "answer": "Ann"}))
    result = invoke("check", str(path), "--model", str(student_folder))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{path}:2: question holds <|im_end|>")


def test_show_prints_what_the_student_sees(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines(DOCUMENTS, GSM8K))
    first, second = invoke("show", str(path)), invoke("show", str(path), "2")
    assert first.stdout.startswith("--- user\n[1] Document 1: Judy Rice was born in Oakford.\n\nQuestion: Where was")
    assert second.stdout.startswith("--- user\nQuestion: Natalia sold")
    assert "; right is, as number: 72\n" in second.stdout
    assert invoke("show", str(path), "3").stderr == f"{path}: 2 questions (got number 3); give one from 1\n"


def test_a_rule_that_is_not_known_is_one_line(tmp_path: Path) -> None:
    result = invoke("check", "a.jsonl", "--answer-rule", "latex")
    assert result.exit_code == 2
    assert result.stderr.startswith("answer_rule: ")
    assert result.stderr.count("\n") == 1
