"""The gen stage through the real client and the real scripted server; the student is a stand-in (no model loads)."""

import io
import json

import pytest
from rich.console import Console

from mbt_lite.data.questions import read_questions
from mbt_lite.errors import DataError, TeacherError
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Completion
from mbt_lite.run_dir import RunDir, read_json, read_jsonl
from mbt_lite.stages import gen
from mbt_lite.teacher import client
from mbt_lite.traces.checks import rejection


@pytest.fixture
def recipe(tmp_path):
    def make(kind="mbt_r", **sections):
        questions = read_questions(Recipe.model_validate(SECTIONS).data.train, 0)[:6]
        from mbt_lite.records import to_row

        path = tmp_path / "train.jsonl"
        path.write_text("".join(json.dumps(to_row(question)) + "\n" for question in questions))
        data = {"train": {"path": str(path)}, "dev": {"path": "data_samples/demo_dev.jsonl"}}
        return Recipe.model_validate({**SECTIONS, "data": data, "gen": {"kind": kind}, **sections})

    return make


SECTIONS = {
    "model": {"name": "none"},
    "data": {"train": {"path": "data_samples/demo_train.jsonl"}, "dev": {"path": "data_samples/demo_dev.jsonl"}},
}


@pytest.fixture(autouse=True)
def no_student(monkeypatch):
    """Stand in for the student: prompts always fit, drafts are wrong, the first of them is cut off."""

    def roll_out(recipe, questions):
        for position, question in enumerate(questions):
            yield Completion(
                question_id=question.question_id,
                rollout_index=0,
                text="<think>A guess.</think><answer>Nobody</answer>",
                finish_reason="length" if question.question_id.endswith("0000") else "stop",
                prompt_tokens=9,
                completion_tokens=position + 1,
            )

    monkeypatch.setattr(gen, "_roll_out", roll_out)
    monkeypatch.setattr(gen, "_fit", lambda recipe, questions: (list(questions), 0))


def run(recipe, path):
    run_dir, out = RunDir(path), io.StringIO()
    gen.run(recipe, run_dir, Console(file=out, width=200))
    return out.getvalue()


def test_run_rewrites_every_draft_that_stopped(recipe, tmp_path):
    run(recipe(), tmp_path / "run")
    traces = read_jsonl(tmp_path / "run/gen/traces.jsonl")
    assert len(traces) == 5
    assert {row["scripted"] for row in traces} == {True}
    assert all(row["completion"][0]["content"].endswith(f"<answer>{row['answer']}</answer>") for row in traces)
    assert read_json(tmp_path / "run/gen/done.json")["summary"]["drafts_cut_off"] == 1
    usage = read_json(tmp_path / "run/gen/usage.json")
    assert (usage["solution"]["requests"], usage["mbt_r"]["requests"]) == (5, 5)


def test_run_mbt_s_needs_no_student(recipe, tmp_path):
    run(recipe("mbt_s"), tmp_path / "run")
    assert len(read_jsonl(tmp_path / "run/gen/traces.jsonl")) == 6
    assert not (tmp_path / "run/gen/rollouts.jsonl").exists()


def test_run_again_sends_nothing_and_changes_nothing(recipe, tmp_path, monkeypatch):
    run(recipe(), tmp_path / "run")
    before = (tmp_path / "run/gen/traces.jsonl").read_bytes()
    (tmp_path / "run/gen/done.json").unlink()
    monkeypatch.setattr(client, "_open_client", lambda *_: pytest.fail("a request was about to be sent"))
    run(recipe(), tmp_path / "run")
    assert (tmp_path / "run/gen/traces.jsonl").read_bytes() == before
    assert "done already" in run(recipe(), tmp_path / "run")


def test_run_with_half_of_the_replies_asks_for_the_rest_only(recipe, tmp_path):
    run(recipe(), tmp_path / "run")
    before = (tmp_path / "run/gen/traces.jsonl").read_bytes()
    replies = tmp_path / "run/gen/replies.jsonl"
    lines = replies.read_text().splitlines(keepends=True)
    replies.write_text("".join(lines[:4]) + lines[4][:20])
    (tmp_path / "run/gen/done.json").unlink()
    run(recipe(), tmp_path / "run")
    assert len({row["key"] for row in read_jsonl(replies)}) == len(read_jsonl(replies)) == len(lines)
    assert (tmp_path / "run/gen/traces.jsonl").read_bytes() == before


def test_run_unreachable_teacher_is_one_line_and_keeps_the_drafts(recipe, tmp_path):
    teacher = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "attempts": 2, "timeout_seconds": 5.0}
    with pytest.raises(TeacherError, match="cannot connect after 2 attempts; start the server") as caught:
        run(recipe(teacher=teacher), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert len(read_jsonl(tmp_path / "run/gen/rollouts.jsonl")) == 6


def test_run_without_an_accepted_trace_is_an_error_that_counts_reasons(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(gen, "rejection", lambda *_: "empty")
    with pytest.raises(DataError, match=r"no trace was accepted \(rejected \{'empty': 6\}\)"):
        run(recipe("mbt_s"), tmp_path / "run")
    assert len(read_jsonl(tmp_path / "run/gen/rejected.jsonl")) == 6


def test_plan_counts_requests_and_writes_nothing(recipe, tmp_path):
    (line,) = gen.plan(recipe(), RunDir(tmp_path / "run"))
    assert line == "gen: 6 questions, 6 drafts of the student, at most 12 teacher requests (mbt_r)"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "finish_reason", "reason"),
    [
        ("We read, so the answer is {gold}.", "stop", None),
        ("We read, so the answer is {gold}.", "length", "truncated"),
        ("429: too much", "refused", "refused"),
        (" ", "stop", "empty"),
        ("<think>{gold}</think>", "stop", "holds tags"),
        ("## Plan\n{gold}", "stop", "markdown"),
        ("The **answer** is {gold}", "stop", "markdown"),
        ("The draft is wrong: {gold}.", "stop", "reveals that the answer was given"),
        ("We read, but find nothing.", "stop", "does not reach the gold"),
    ],
)
def test_rejection_names_the_reason(text, finish_reason, reason):
    question = read_questions(Recipe.model_validate(SECTIONS).data.train, 0)[0]
    assert rejection(text.format(gold=question.answer), finish_reason, question) == reason
