"""A kind of traces that is defined in one place, here, goes through gen at a loopback server."""

import sys
import types
from pathlib import Path

import pytest
from gen_lab import make_recipe, run, stand_in
from teacher_server import Answer, Body, completion, teacher_server

from mbt_lite.data.questions import read_questions
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.prompts import completion_text, student_messages
from mbt_lite.records import Completion, Question, Solution, Trace, from_row
from mbt_lite.run_dir import RunDir
from mbt_lite.stages import gen
from mbt_lite.traces import kinds
from mbt_lite.traces.kind import Kind, Messages, Words


def trace_request(question: Question, words: Words, draft: Completion | None, guide: Solution | None) -> Messages:
    assert draft is not None
    assert guide is None
    return ({"role": "user", "content": f"Shorten to {words[1]} words: {draft.text} Gold: {question.answer}"},)


def is_short(text: str, finish_reason: str, question: Question, *_: object) -> str | None:
    return "too many words" if len(text.split()) > 9 else None


KIND = Kind(
    name="shortened",
    drafter="teacher",
    trace_request=trace_request,
    rejects=is_short,
    completion=lambda trace, answer: completion_text(f"Briefly: {trace}", answer),
)


@pytest.fixture(autouse=True)
def one_file_more(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    # as the file traces/kinds/shortened.py would
    monkeypatch.setitem(sys.modules, f"{kinds.__name__}.shortened", types.SimpleNamespace(KIND=KIND))


def write(number: int, body: Body) -> Answer:
    asked = body["messages"][-1]["content"]
    if asked.startswith("Shorten"):
        assert "Shorten to 300 words: <think>A long thought.</think>" in asked
        return completion("word " * (20 if number == 9 else 3))
    return completion("<think>A long thought.</think><answer>Oslo</answer>")


def test_a_kind_of_one_place_is_planned_drafted_asked_judged_and_written(tmp_path: Path) -> None:
    recipe = make_recipe(tmp_path)
    with teacher_server(write) as server:
        teacher = recipe.teacher.model_copy(update={"base_url": server.url, "model": "m", "concurrency": 1})
        # as if `TraceKind` had its word
        changed = recipe.gen.model_copy(update={"kind": "shortened", "traces_per_draft": 2})
        recipe = recipe.model_copy(update={"gen": changed, "teacher": teacher})
        [line, _] = gen.plan(recipe, RunDir(tmp_path / "run"))
        printed = run(recipe, tmp_path / "run")
        assert len(server.bodies) == 6 + 12
    assert line == "gen: 6 questions, 6 drafts of the teacher, 18 teacher requests (shortened)"
    assert "too many words" in printed
    rows = read_jsonl(tmp_path / "run/gen/traces.jsonl")
    traces = [from_row(Trace, row, "traces") for row in rows]
    assert len(traces) == 11
    assert {(trace.kind, trace.teacher, trace.row_rule) for trace in traces} == {("shortened", "m", "closed")}
    assert traces[0].completion[0]["content"].startswith("<think>\nBriefly: word word word\n</think>")
    assert read_json(tmp_path / "run/gen/done.json")["summary"]["rejected"] == {"too many words": 1}
    assert set(read_json(tmp_path / "run/gen/usage.json")) == {"draft", "shortened"}
    assert list(traces[0].prompt) == student_messages(read_questions(recipe.data.train, 0)[0])


def test_a_kind_without_a_file_is_told_by_its_name() -> None:
    with pytest.raises(ModuleNotFoundError, match="longer"):
        kinds.kind_named("longer")
