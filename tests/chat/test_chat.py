"""`mbt-lite chat` on a run with a tiny student: what it asks, shows, keeps, and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("peft", reason="needs the training stack: pip install 'mbt-lite[train]'")

from mbt_lite import cli
from mbt_lite.endpoint.stream import StreamingEndpoint
from mbt_lite.errors import TeacherError
from mbt_lite.files import read_jsonl
from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.generate import generate
from mbt_lite.generation.stream import stream
from mbt_lite.recipe import load_recipe, resolved, schema
from mbt_lite.run_dir import RECIPE_FILE, RunDir
from mbt_lite.student import chat_template
from mbt_lite.student.adapters import add_adapter, save_adapter
from mbt_lite.student.loading import load_student

ROOT = Path(__file__).parents[2]
DEV = ROOT / "data_samples/demo_dev.jsonl"


@pytest.fixture(scope="module")
def run(student_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has a tiny sft adapter."""
    train = schema.Questions(path=str(ROOT / "data_samples/demo_train.jsonl"))
    recipe = schema.Recipe(
        model=schema.Model(name=str(student_folder), dtype="float32", quantization="none", backend="transformers"),
        data=schema.Data(train=train, dev=schema.Questions(path=str(DEV))),
        eval=schema.Eval(max_completion_tokens=16),
    )
    run_dir = RunDir.open(tmp_path_factory.mktemp("chat") / "run", resolved(recipe), frozenset())
    with run_dir.locked("sft", {}):
        pass
    student = load_student(recipe.model)
    add_adapter(student, schema.Lora(rank=2, alpha=4), 0, gradient_checkpointing=False)
    save_adapter(student, run_dir.stage_dir("sft") / "adapter")
    return run_dir.path


def chat(*arguments: object, typed: str = "") -> Result:
    return CliRunner().invoke(cli.app, ["chat", *map(str, arguments)], input=typed)


def kept(run: Path) -> list[dict]:
    return read_jsonl(run / "chat" / "answers.jsonl")


def test_stream_writes_what_generate_does(run: Path) -> None:
    student = load_student(load_recipe(run / RECIPE_FILE, []).model)
    for number in range(4):
        messages = [{"role": "user", "content": f"Who wrote {number}?"}]
        (wanted,) = generate(student, [messages], Decoding(max_completion_tokens=24))
        prompt = student.tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
        assert list(stream(student, prompt, Decoding(max_completion_tokens=24))) == list(wanted.token_ids)


def test_one_question_of_a_file_is_answered_by_base_and_the_newest_and_kept(run: Path) -> None:
    before = len(kept(run))
    result = chat(run, "--file", DEV, "--question", "2")
    assert result.exit_code == 0, result.output
    question = json.loads(DEV.read_text().splitlines()[1])
    assert f"gold: {question['answer']}" in result.stdout
    rows = kept(run)[before:]
    assert [(row["variant"], row["ending"], row["question"]) for row in rows] == [
        ("base", "ended", question["question"]),
        ("sft", "ended", question["question"]),
    ]
    # a fresh adapter changes nothing
    assert rows[0]["text"] == rows[1]["text"]


def test_documents_are_pasted_and_several_questions_asked(run: Path) -> None:
    before = len(kept(run))
    typed = "Oslo: A city.\n[2] Bergen: A town.\n\nWhich is larger?\nWhich is older?\n"
    result = chat(run, "--variant", "base", typed=typed)
    assert result.exit_code == 0, result.output
    rows = kept(run)[before:]
    assert [row["question"] for row in rows] == ["Which is larger?", "Which is older?"]
    assert [document["title"] for document in rows[0]["documents"]] == ["Oslo", "Bergen"]


def test_a_wrong_number_is_told_and_asked_again(run: Path) -> None:
    before = len(kept(run))
    result = chat(run, "--variant", "base", "--file", DEV, typed="999\n1\n")
    assert result.exit_code == 0, result.output
    assert "question: no such number (got 999); give one from 1 to " in result.stdout
    assert len(kept(run)) == before + 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--variant", "grpo"], "no adapter of grpo (got --variant grpo); finish that stage first"),
        (["--variant", "sfd"], "no such variant (got --variant sfd); give one of base, metacognitive, sft, grpo"),
        (["--file", "nothing.txt"], "nothing.txt: cannot be read"),
        (["--base-url", "nowhere"], "--base-url: not a URL (got nowhere); give one such as"),
        (["--base-url", "http://127.0.0.1:9/v1"], "http://127.0.0.1:9/v1: it does not answer (said: Connection error"),
    ],
    ids=["no adapter", "no variant", "no file", "no URL", "no server"],
)
def test_a_mistake_is_one_line(arguments, problem, run: Path) -> None:
    result = chat(run, *arguments)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_key_that_cannot_be_sent_is_told() -> None:
    with pytest.raises(TeacherError, match=r"^http://127\.0\.0\.1:9/v1: the key cannot stand in a header; "):
        StreamingEndpoint("http://127.0.0.1:9/v1", "m", "schl\u00fcssel")


def test_ctrl_c_in_mid_answer_keeps_what_was_written_and_ends_with_130(run: Path) -> None:
    """A real signal at a real process: sent when the first piece is there."""
    before = len(kept(run))
    program = f"""
import os, signal
# a shell's background jobs are started with it ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
from mbt_lite import cli
from mbt_lite.generation import stream
# a random student may end its turn at once: letters only
stream.sample = lambda logits, *_: logits[:, 40:60].argmax(-1) + 40
step = stream._step
def counted(*arguments, calls=[]):
    calls.append(1)
    if len(calls) == 8:
        os.kill(os.getpid(), signal.SIGINT)
    return step(*arguments)
stream._step = counted
import sys
sys.argv = ["mbt-lite", "chat", {str(run)!r}, "--variant", "base", "--file", {str(DEV)!r}, "--question", "1"]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert done.stderr == f"{cli.INTERRUPTED}\n"
    (row,) = kept(run)[before:]
    assert row["ending"] == "interrupted"
    assert row["text"]


def test_a_variant_of_the_recipe_answers_by_its_name_with_its_prompt(run: Path, monkeypatch) -> None:
    asked, ids = [], chat_template.prompt_ids
    monkeypatch.setattr(chat_template, "prompt_ids", lambda t, messages: asked.append(messages) or ids(t, messages))
    file = run / "recipe.resolved.json"
    before = file.read_text()
    recipe = json.loads(before)
    recipe["eval"]["variants"].append({"name": "told", "adapter": str(run / "sft/adapter"), "prompt": "metacognitive"})
    file.write_text(json.dumps(recipe))
    result = chat(run, "--variant", "told", "--variant", "sft", "--file", DEV, "--question", "2")
    file.write_text(before)
    assert result.exit_code == 0, result.output
    assert [row["variant"] for row in kept(run)[-2:]] == ["told", "sft"]
    # loading looks at the template with a prompt of its own
    asked = [messages for messages in asked if messages[-1]["content"] != "probe"]
    assert [[message["role"] for message in messages] for messages in asked] == [["system", "user"], ["user"]]
