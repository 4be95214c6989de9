"""The dry run through token ids: what training will score, tokenizer and all."""

from typing import Any

import pytest
from gold_rows import gold_findings

from mbt_lite.methods.law import Law
from mbt_lite.records import Question
from mbt_lite.rewards.scorer import Scorer
from mbt_lite.rewards.terms import RewardLimits
from mbt_lite.rewards.vocabulary import Vocabulary

ROOMY = RewardLimits(max_completion_tokens=900, verification_words=40, overlong_buffer_tokens=50)


def question(answer: str = "Ana Ruiz", name: str = "q1") -> Question:
    return Question(name, "Who directed it?", answer, ("Ruiz",), (), "mbt")


def findings(toy: Any, vocabulary: Vocabulary, questions: list[Question], weights: Any, **changes: Any) -> list[str]:
    settings = {"limits": ROOMY, "prefilled_think": False} | changes
    scorer = Scorer(vocabulary.decode, frozenset({toy.eos_token_id}), **settings)
    return Law(weights, scorer.limits.max_completion_tokens).findings(
        questions, scorer, lambda text: toy.encode(text, add_special_tokens=False)
    )


@pytest.mark.parametrize("prefilled_think", [False, True])
def test_findings_is_empty_for_a_sound_reward(toy: Any, toy_vocabulary: Vocabulary, prefilled_think: bool) -> None:
    # more questions than are scored in one go
    asked = [question(answer, f"q{number}") for number in range(35) for answer in ("Ana Ruiz", "Lima")]
    weights = {"answer": 1.0, "format": 0.2, "length": 0.1}
    assert findings(toy, toy_vocabulary, asked, weights, prefilled_think=prefilled_think) == []


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"format": 1.0}, "a wrong answer scores no less than the gold completion (got 1 against 1); no term tells"),
        (
            {"answer": -1.0},
            "a wrong answer scores no less than the gold completion (got 0 against -1); the term",
        ),
        ({"answer": 1.0, "keep": -2.0}, "an unclosed think block scores no less"),
    ],
)
def test_findings_names_question_completion_and_term(
    toy: Any, toy_vocabulary: Vocabulary, weights: Any, said: str
) -> None:
    asked = [question(name="q1"), question(name="q2")]
    found = findings(toy, toy_vocabulary, asked, weights)
    for name in ("q1", "q2"):
        assert [line for line in found if line.startswith(f"reward of question {name}: {said}")], found


def test_findings_are_those_of_another_tokenizer(toy: Any, toy_vocabulary: Vocabulary) -> None:
    for weights in ({}, {"format": 1.0}, {"answer": -1.0}, {"answer": 1.0, "length": -3.0}):
        assert findings(toy, toy_vocabulary, [question()], weights) == gold_findings(question(), weights, ROOMY)


def test_findings_counts_real_tokens(toy: Any, toy_vocabulary: Vocabulary) -> None:
    limits = RewardLimits(max_completion_tokens=30, verification_words=2, overlong_buffer_tokens=5)
    (found,) = findings(toy, toy_vocabulary, [question()], {"answer": 1.0}, limits=limits)
    assert "the gold completion does not fit (got " in found
    assert found.endswith("max_completion_tokens 30); raise max_completion_tokens")


def test_findings_sees_a_tokenizer_that_loses_the_tags(toy: Any, toy_vocabulary: Vocabulary) -> None:
    scorer = Scorer(lambda ids: "", frozenset({toy.eos_token_id}), ROOMY, False)
    found = Law({"answer": 1.0}, 900).findings([question()], scorer, toy.encode)
    assert found == [
        "the tokenizer does not give <think></think><answer></answer> back (got ''); "
        "take one in which they are no special tokens"
    ]
