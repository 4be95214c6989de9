"""Steps of completions, counted by hand."""

import dataclasses

from mbt_lite.metrics.predictions import score_completion
from mbt_lite.metrics.spans import count_spans
from mbt_lite.records import Completion, Question

QUESTION = Question(
    "q1", "Where was the director of The Long Bridge born?", "Lima", (), (), "mbt", bridges=("Ana Ruiz",),
    ask_for="steps",
)  # fmt: skip
OTHER = dataclasses.replace(QUESTION, question_id="q2", bridges=())
TEXTS = {
    ("q1", 0): "<think>Step 1: director -> Ana Ruiz\nStep 2: born -> Lima</think><answer>Lima</answer>",
    ("q1", 1): "<think>Step 1: who -> Bo Ek\nStep 2: who -> Ana Ruiz</think><answer>Lima</answer>",
    ("q2", 0): "<think>Step 1: who -> Bo Ek</think><answer>Oslo</answer>",
    ("q2", 1): "<think>Step 1: who -> A</think><answer>Oslo</answer>",
}


def counted(*questions: Question) -> dict[str, dict[str, float]] | None:
    asked = {question.question_id: question for question in questions}
    rows = [
        score_completion(asked[name], Completion(name, index, text, "stop", 5, 5), "sft")
        for (name, index), text in TEXTS.items()
        if name in asked
    ]
    return count_spans(rows, asked, prefilled_think=False, samples=50, seed=0)


def test_count_spans_gives_means_over_questions() -> None:
    found = counted(QUESTION, OTHER)
    assert found is not None
    assert {name: (one["mean"], one["n"]) for name, one in found.items()} == {
        "has_steps": (0.75, 2), "spans": (1.5, 1), "right_spans": (0.75, 1),
    }  # fmt: skip


def test_count_spans_says_why_there_are_none() -> None:
    found = counted(OTHER)
    assert found is not None
    assert found["spans"]["undefined_reason"] == "no question has gold bridges"
    assert found["right_spans"]["undefined_reason"] == "no completion has a step that could be right"
    assert counted(dataclasses.replace(QUESTION, ask_for="answer")) is None
