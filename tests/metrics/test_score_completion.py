import pytest

from mbt_lite.errors import DataError
from mbt_lite.metrics.predictions import score_completion
from mbt_lite.records import Completion, FinishReason, Prediction, Question, from_row, to_row


def asked(source: str = "musique") -> Question:
    return Question("q1", "Where?", "New York", ("NYC",), (), source)


def written(text: str, finish_reason: FinishReason = "stop") -> Completion:
    return Completion("q1", 2, text, finish_reason, prompt_tokens=7, completion_tokens=11)


def scores(prediction: Prediction) -> tuple[float, ...]:
    return (
        prediction.exact_match, prediction.f1, prediction.substring_match, prediction.answered,
        prediction.stopped, prediction.degenerate, prediction.answer_hit,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "finish_reason", "answer", "expected"),
    [
        pytest.param(
            "<think>It is New York.</think><answer>NYC</answer>", "stop", "NYC", (1, 1, 1, 1, 1, 0, 1), id="right"
        ),
        pytest.param(
            "<think>It is New York.</think><answer>new york city</answer>", "stop",
            "new york city", (0, 0.8, 1, 1, 1, 0, 1), id="lost",
        ),
        pytest.param(
            "<think>Hm.</think><answer>Oslo</answer>", "stop", "Oslo", (0, 0, 0, 1, 1, 0, 0), id="never had it"
        ),
        pytest.param(
            "<think>New York <answer>NYC</answer>", "length", None, (0, 0, 0, 0, 0, 1, 1), id="cut off in the trace"
        ),
        pytest.param("New York", "stop", None, (0, 0, 0, 0, 1, 1, 0), id="no tags at all"),
        pytest.param("<answer>NYC</answer> and", "length", "NYC", (1, 1, 1, 1, 0, 1, 0), id="right, then cut off"),
    ],
)  # fmt: skip
def test_score_completion_by_hand(text: str, finish_reason: FinishReason, answer: str | None, expected) -> None:
    prediction = score_completion(asked(), written(text, finish_reason), "base")
    assert prediction.answer == answer
    assert scores(prediction) == pytest.approx(expected)


def test_score_completion_keeps_what_it_was_given() -> None:
    prediction = score_completion(asked(), written("New York"), "sft")
    assert (prediction.question_id, prediction.variant, prediction.rollout_index) == ("q1", "sft", 2)
    assert (prediction.text, prediction.finish_reason, prediction.completion_tokens) == ("New York", "stop", 11)
    assert prediction.golds == ("New York", "NYC")
    assert from_row(Prediction, to_row(prediction), "here") == prediction


def test_score_completion_reads_a_prefilled_trace() -> None:
    text = "It is New York.</think><answer>NYC</answer>"
    assert score_completion(asked(), written(text), "base", prefilled_think=True).answer_hit == 1
    assert score_completion(asked(), written(text), "base").answer_hit == 0


def test_score_completion_uses_the_rules_of_the_source() -> None:
    question = Question("q1", "Is it?", "yes", (), (), "musique")
    said = written("<think></think><answer>yes it is</answer>")
    assert score_completion(question, said, "base").f1 == 0.5
    hotpot = Question("q1", "Is it?", "yes", (), (), "hotpot")
    assert score_completion(hotpot, said, "base").f1 == 0.0


def test_score_completion_refuses_an_unknown_source() -> None:
    with pytest.raises(DataError, match="squad"):
        score_completion(asked("squad"), written("x"), "base")


def test_score_completion_refuses_another_question() -> None:
    with pytest.raises(AssertionError):
        score_completion(asked(), Completion("q2", 0, "x", "stop", 1, 1), "base")
