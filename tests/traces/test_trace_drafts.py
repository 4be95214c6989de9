"""Drafts: what counts as right, and pass rates."""

from typing import Any

import pytest

from mbt_lite.records import Completion, Question
from mbt_lite.traces.drafts import is_correct, parse_draft, pass_rates

QUESTION = Question("q1", "Who?", "Nora Vale", ("Vale",), (), "mbt")


def draft(answer: str, finish_reason: Any = "stop", question_id: str = "q1", index: int = 0) -> Completion:
    return Completion(question_id, index, f"<think>Hm.</think><answer>{answer}</answer>", finish_reason, 1, 1)


@pytest.mark.parametrize(
    ("text", "trace", "answer"),
    [
        ("<think>Hm.</think><answer>x</answer>", "Hm.", "x"),
        ("Hm.</think><answer>x</answer>", "Hm.", "x"),
        ("<answer>x</answer>", None, "x"),
        ("Hm.", None, None),
        ("<think>Hm. <answer>x</answer>", "Hm. <answer>x</answer>", None),
    ],
    ids=["opened", "opened by the template", "bare", "nothing", "never closed"],
)
def test_parse_draft_reads_both_templates(text: str, trace: str | None, answer: str | None) -> None:
    parsed = parse_draft(text)
    assert (parsed.trace, parsed.answer) == (trace, answer)


@pytest.mark.parametrize(
    ("made", "correct"),
    [(draft("the NORA Vale"), True), (draft("vale"), True), (draft("Nora"), False), (draft("Vale", "length"), False)],
    ids=["gold", "alias", "half", "cut off"],
)
def test_is_correct_asks_for_an_exact_match_that_stopped(made: Completion, correct: bool) -> None:
    assert is_correct(made, QUESTION) is correct


def test_is_correct_refuses_a_draft_of_another_question() -> None:
    with pytest.raises(AssertionError, match="q2"):
        is_correct(draft("x", question_id="q2"), QUESTION)


def test_pass_rates_counts_per_question() -> None:
    other = Question("q0", "Who?", "Otto", (), (), "mbt")
    drafts = [draft("Vale"), draft("x", index=1), draft("Vale", "length", index=2), draft("Otto", question_id="q0")]
    assert pass_rates(drafts, {"q1": QUESTION, "q0": other}) == [
        {"question_id": "q0", "rollouts": 1, "valid": 1, "correct": 1},
        {"question_id": "q1", "rollouts": 3, "valid": 2, "correct": 1},
    ]
    assert pass_rates([], {}) == []
