"""The builders: what the teacher is sent for each kind of trace, and the training row made from its reply."""

import dataclasses
from typing import Any

import pytest

from mbt_lite import prompts
from mbt_lite.records import Completion, Document, Question, Solution, Trace, from_row, to_row
from mbt_lite.text.completion import parse_completion
from mbt_lite.traces.build import build_trace
from mbt_lite.traces.kinds import kind_named, mbt_s
from mbt_lite.traces.requests import solution_request, student_request

QUESTION = Question(
    question_id="q1",
    question="Who runs\nthe mill?",
    answer="Nora Vale",
    aliases=("Vale",),
    documents=(
        Document("Mill", "The mill is run by\nNora Vale.", True),
        Document("Lake", "=== end ===\nIt is wet.", False),
    ),
    source="mbt",
)
SOLUTION = Solution("q1", "The guide.", "t", False)
DRAFT = Completion("q1", 0, "<think>Hm.</think><answer>Otto</answer>", "stop", 1, 1)
WORDS = (100, 200)
MONOLOGUE = prompts.render("monologue", words="Between 100 and 200")
DOCUMENTS = "[1] Mill: The mill is run by Nora Vale.\n[2] Lake: === end === It is wet.\n"


def trace(kind: str = "mbt_r", **changes: Any) -> Trace:
    settings = {"rollout_index": 0, "trace_index": 2, "teacher": "t", "scripted": False, **changes}
    return build_trace(QUESTION, kind_named(kind), " We read.\n", **settings)


def section(content: str, name: str) -> str:
    """Give what stands in a section, up to the next line of that kind."""
    return content.partition(f"\n=== {name} ===\n")[2].partition("\n=== ")[0]


def test_solution_request_hold_documents_question_and_gold() -> None:
    (message,) = solution_request(QUESTION)
    assert message["role"] == "user"
    assert section(message["content"], "documents") + "\n" == DOCUMENTS
    assert section(message["content"], "question") == "Who runs the mill?"
    assert section(message["content"], "correct answer") == "Nora Vale"
    assert "Task: write a solution guide." in message["content"]


def test_mbt_s_request_holds_documents_question_gold_and_the_phases() -> None:
    (message,) = mbt_s.trace_request(QUESTION, WORDS)
    assert message["role"] == "user"
    assert section(message["content"], "documents") + "\n" == DOCUMENTS
    assert section(message["content"], "question") == "Who runs the mill?"
    assert section(message["content"], "correct answer") == "Nora Vale"
    assert MONOLOGUE in message["content"]
    assert "{{" not in message["content"]


def test_rewriting_request_is_a_chat_of_three_turns() -> None:
    first, second, third = kind_named("mbt_r").trace_request(QUESTION, WORDS, DRAFT, SOLUTION)
    assert (first,) == solution_request(QUESTION)
    assert second == {"role": "assistant", "content": "The guide."}
    assert third["role"] == "user"
    assert section(third["content"], "draft") == DRAFT.text
    assert section(third["content"], "correct answer") == "Nora Vale"
    assert MONOLOGUE in third["content"]
    # the documents stand in the first turn already
    assert "[1] Mill" not in third["content"]


def test_rewriting_request_takes_a_draft_verbatim() -> None:
    text = "{{answer}} \\1 $5\n\n  === question ===\n"
    (*_, third) = kind_named("mbt_r").trace_request(QUESTION, WORDS, dataclasses.replace(DRAFT, text=text), SOLUTION)
    assert f"=== draft ===\n{text}\n=== end ===" in third["content"]


@pytest.mark.parametrize(
    ("solution", "draft"),
    [
        (dataclasses.replace(SOLUTION, question_id="q2"), DRAFT),
        (SOLUTION, dataclasses.replace(DRAFT, question_id="q2")),
        (dataclasses.replace(SOLUTION, question_id="q2"), dataclasses.replace(DRAFT, question_id="q2")),
    ],
    ids=["guide", "draft", "both"],
)
def test_rewriting_request_refuses_what_belongs_to_another_question(solution: Solution, draft: Completion) -> None:
    with pytest.raises(AssertionError, match="q2"):
        kind_named("mbt_r").trace_request(QUESTION, WORDS, draft, solution)


def test_rewriting_request_without_phases_differs_in_the_last_turn_only() -> None:
    five, plain = (
        kind_named(request).trace_request(QUESTION, WORDS, DRAFT, SOLUTION) for request in ("mbt_r", "distill_r")
    )
    assert five[:2] == plain[:2]
    assert MONOLOGUE not in plain[2]["content"]
    for name in ("question", "correct answer", "draft"):
        assert section(plain[2]["content"], name) == section(five[2]["content"], name)


def test_student_request_is_the_students_prompt() -> None:
    assert list(student_request(QUESTION)) == prompts.student_messages(QUESTION)


def test_build_trace_of_a_kept_draft_has_its_own_answer() -> None:
    row = trace("self_distill", answer="vale")
    assert row.answer == "vale"
    assert row.completion[0]["content"].endswith("<answer>vale</answer>")
    assert row.prompt_version == prompts.version("student")


def test_messages_keep_an_answer_on_one_line_so_that_it_opens_no_section() -> None:
    odd = dataclasses.replace(QUESTION, answer="Nora\n=== question ===\nWhy?")
    for messages in (
        solution_request(odd),
        mbt_s.trace_request(odd, WORDS),
        kind_named("mbt_r").trace_request(odd, WORDS, DRAFT, SOLUTION)[2:],
    ):
        assert section(messages[0]["content"], "correct answer") == "Nora === question === Why?"


def test_build_trace_is_the_students_prompt_and_a_closed_completion() -> None:
    row = trace()
    assert row.prompt == tuple(prompts.student_messages(QUESTION))
    assert row.completion == (
        {"role": "assistant", "content": "<think>\nWe read.\n</think>\n\n<answer>Nora Vale</answer>"},
    )
    assert (row.text, row.answer) == ("We read.", "Nora Vale")


def test_build_trace_completion_is_well_formed_for_the_parser() -> None:
    parsed = parse_completion(trace().completion[0]["content"])
    assert parsed.is_well_formed
    assert ((parsed.trace or "").strip(), parsed.answer) == ("We read.", "Nora Vale")


@pytest.mark.parametrize(("scripted", "teacher"), [(True, "scripted"), (False, "big")])
def test_build_trace_says_who_wrote_it(scripted: bool, teacher: str) -> None:
    row = trace(scripted=scripted, teacher=teacher)
    assert (row.scripted, row.teacher, row.kind, row.question_id) == (scripted, teacher, "mbt_r", "q1")


def test_build_trace_ids_differ_by_question_kind_draft_and_trace() -> None:
    rows = [
        trace(kind, rollout_index=r, trace_index=t) for kind in ("mbt_r", "mbt_s") for r in (None, 0, 1) for t in (0, 1)
    ]
    assert len({row.trace_id for row in rows}) == len(rows)
    assert (trace().trace_id, trace("mbt_s", rollout_index=None).trace_id) == ("q1:mbt_r:0:2", "q1:mbt_s:-:2")


def test_build_trace_names_the_version_of_the_prompts_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    rewritten, scratch = trace("mbt_r").prompt_version, trace("mbt_s").prompt_version
    assert rewritten == prompts.version("student", "solution", "mbt_r", "monologue")
    assert scratch == prompts.version("student", "mbt_s", "monologue")
    texts = {name: prompts.text(name) for name in prompts.NAMES} | {"solution": "another {{answer}}"}
    monkeypatch.setattr(prompts, "text", texts.__getitem__)
    assert trace("mbt_r").prompt_version != rewritten
    assert trace("mbt_s").prompt_version == scratch


def test_build_trace_survives_its_line() -> None:
    row = trace()
    assert from_row(Trace, to_row(row), "traces.jsonl:1") == row
