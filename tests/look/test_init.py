"""`mbt-lite init`: a file of questions in, a recipe out that runs."""

import datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mbt_lite.cli import app
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.recipe import load_recipe

TABLE = "question,answer,note\n" + "".join(f"Where does road {n} end?,Town {n},x\n" for n in range(20))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("own.csv").write_text(TABLE)
    return tmp_path


def init(*words: str) -> Result:
    return CliRunner().invoke(app, ["init", *words])


def test_one_file_is_split_and_the_recipe_is_ready_to_run(folder: Path, student_folder: Path) -> None:
    result = init("--data", "own.csv", "--student", str(student_folder), "--teacher", "embedded")
    assert result.exit_code == 0, result.output
    train, dev = read_jsonl(Path("recipe_train.jsonl")), read_jsonl(Path("recipe_dev.jsonl"))
    assert (len(train), len(dev)) == (15, 5)
    assert len({row["question"] for row in [*train, *dev]}) == 20
    assert "not read: note (15)" in result.stdout
    assert "15 of 15 questions have no documents" in result.stdout
    recipe = load_recipe(Path("recipe.yaml"), [])
    assert recipe.grpo.prompts_per_step == 5
    assert recipe.data.max_prompt_tokens % 64 == 0
    assert read_json(Path("recipe.schema.json"))["properties"]
    assert "# yaml-language-server: $schema=recipe.schema.json" in Path("recipe.yaml").read_text()
    planned = CliRunner().invoke(app, ["run", "recipe.yaml", "--dry-run"])
    assert planned.exit_code == 0, planned.output
    again = init("--data", "own.csv", "--teacher", "embedded")
    assert again.exit_code == 2
    assert again.stderr == "recipe.yaml: is there already; name another by --out, or delete it\n"


def test_a_split_keeps_what_json_cannot_write_and_writes_over_nothing(folder: Path, student_folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the training stack: pip install 'mbt-lite[train]'")
    from pyarrow import parquet

    days = [
        {"question": f"When did road {n} open?", "answer": f"Day {n}", "seen": datetime.date(2020, 1, n)}
        for n in (1, 2)
    ]
    parquet.write_table(pyarrow.Table.from_pylist(days), "days.parquet")
    result = init("--data", "days.parquet", "--student", str(student_folder), "--teacher", "embedded")
    assert result.exit_code == 0, result.output
    assert read_jsonl(Path("recipe_dev.jsonl"))[0]["seen"].startswith("2020-01-0")
    Path("own_train.jsonl").write_text(
        '{"question": "A?", "answer": "x", "note": "\\ud83d"}\n{"question": "B?", "answer": "y"}\n'
    )
    before = Path("own_train.jsonl").read_text()
    result = init(
        "--data", "own_train.jsonl", "--student", str(student_folder), "--teacher", "embedded", "--out", "own.yaml"
    )
    assert (result.exit_code, Path("own_train.jsonl").read_text()) == (2, before)
    assert result.stderr.startswith("own_train.jsonl: is there already, with other records; ")
    result = init(
        "--data", "own_train.jsonl", "--student", str(student_folder), "--teacher", "embedded", "--out", "b.yaml"
    )
    assert result.exit_code == 0, result.output
    assert "ud83d" in Path("b_train.jsonl").read_text() + Path("b_dev.jsonl").read_text()


def test_a_card_too_small_for_the_settings_changes_them(folder: Path) -> None:
    Path("other.csv").write_text(TABLE.replace("road", "path"))
    words = (
        "--data",
        "own.csv",
        "--dev",
        "other.csv",
        "--student",
        "random:qwen3-4b",
        "--vram",
        "12",
        "--out",
        "a.yaml",
    )
    result = init(*words, "--teacher", "openrouter", "--teacher-model", "some/model")
    assert result.exit_code == 0, result.output
    assert "plan: made to fit " in result.stdout
    text = Path("a.yaml").read_text()
    assert "OPENROUTER_API_KEY" in text
    assert load_recipe(Path("a.yaml"), []).grpo.rollout_batch_size < 32
    # what doctor finds is told at once
    assert "PROBLEM teacher key OPENROUTER_API_KEY" in result.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "init: no file of questions"),
        (("--data", "own.csv", "--teacher", "claude"), "teacher: no such kind (got claude); write one of embedded, "),
        (("--data", "own.csv", "--teacher", "vllm"), "init: no model of the teacher"),
        (("--data", "none.csv", "--teacher", "embedded"), "none.csv: "),
    ],
)
def test_what_is_missing_is_one_line_and_nothing_is_written(words: tuple[str, ...], told: str, folder: Path) -> None:
    result = init(*words)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(told)
    assert result.stderr.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["own.csv"]
