"""Playing a strategy: questions advance together, equal calls are one prompt, tokens add up, a refusal ends a game."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest

from mbt_lite import strategies
from mbt_lite.recipe.variants import StrategyName
from mbt_lite.records import Completion, Document, Question
from mbt_lite.strategies import single, strategy_named
from mbt_lite.strategies.rounds import Answered, Place, Played, Prompt, first_prompts, play
from mbt_lite.strategies.strategy import Call, Outcome, Rounds, Settings, Strategy

QUESTIONS = [Question(f"q{i}", f"Who {i}?", "a", (), (Document("t", "x", True),), "mbt") for i in range(3)]
SETTINGS = Settings(lambda question: ({"role": "user", "content": question.question},), 0.5, 64)


def said(text: str) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": text},)


def plan_then_answer(question: Question, settings: Settings) -> Rounds:
    [[plan]] = yield [Call(said(f"plan {question.question}"), 0.0, 8)]
    [[answer]] = yield [Call(said(f"{plan.text}, so {question.question}"), settings.temperature, 64)]
    return Outcome(answer.text, answer.finish_reason)


def vote(question: Question, settings: Settings) -> Rounds:
    [answers] = yield [Call(settings.messages(question), settings.temperature, 64, samples=3)]
    return Outcome("|".join(answer.text for answer in answers), "stop")


def one_by_one(question: Question, settings: Settings) -> Rounds:
    texts = []
    for _ in range(3):
        [[answer]] = yield [Call(settings.messages(question), settings.temperature, 64)]
        texts.append(answer.text)
    return Outcome("|".join(texts), "stop")


@dataclasses.dataclass
class Student:
    """Completes a prompt with its place, and keeps the rounds it was asked; refuses what holds a word."""

    refuses: str = "nothing"
    rounds: list[list[Prompt]] = dataclasses.field(default_factory=list)

    def __call__(self, number: int, prompts: Sequence[Prompt]) -> Answered:
        assert number == len(self.rounds)
        self.rounds.append(list(prompts))
        completions, refused = {}, {}
        for prompt in prompts:
            for place in prompt.places:
                if self.refuses in prompt.messages[-1]["content"]:
                    refused[place] = "content_filter"
                else:
                    text = f"{place.round}.{place.call}.{place.sample}"
                    completions[place] = Completion(*place.key, text, "stop", 10, 3)
        return Answered(completions, refused)


def played(start: object, samples: int = 1, student: Student | None = None) -> tuple[Played, Student]:
    student = student or Student()
    return play(Strategy(start), QUESTIONS, SETTINGS, samples, student), student  # type: ignore[arg-type]


def test_single_is_one_round_and_its_completion_is_the_answer() -> None:
    made, student = played(single.single)
    assert [[prompt.messages[0]["content"] for prompt in asked] for asked in student.rounds] == [
        ["Who 0?", "Who 1?", "Who 2?"]
    ]
    assert made.completions["q1", 0] == Completion("q1", 0, "0.0.0", "stop", 10, 3)
    assert strategy_named("single").is_one_call


def test_every_round_is_one_batch_of_all_questions_and_tokens_add_up() -> None:
    made, student = played(plan_then_answer)
    assert [len(asked) for asked in student.rounds] == [3, 3]
    assert student.rounds[1][2].messages[0]["content"] == "0.0.0, so Who 2?"
    assert {(prompt.temperature, prompt.max_completion_tokens) for prompt in student.rounds[0]} == {(0.0, 8)}
    assert made.completions["q2", 0] == Completion("q2", 0, "1.0.0", "stop", 20, 6)


def test_equal_calls_of_one_question_are_one_prompt() -> None:
    made, student = played(vote, samples=2)
    [prompts] = student.rounds
    assert [len(prompt.places) for prompt in prompts] == [6, 6, 6]
    assert prompts[0].places[3] == Place("q0", 1, 0, 0, 0)
    assert made.completions["q0", 1].text == "0.0.0|0.0.1|0.0.2"
    assert made.completions["q0", 1].completion_tokens == 9


def test_a_prompt_that_is_asked_again_knows_how_many_samples_were_drawn() -> None:
    made, student = played(one_by_one, samples=2)
    assert [[prompt.n_earlier for prompt in asked] for asked in student.rounds] == [[0] * 3, [2] * 3, [4] * 3]
    assert made.completions["q1", 1].text == "0.0.0|1.0.0|2.0.0"


def test_a_refusal_ends_a_game_and_no_other() -> None:
    made, student = played(plan_then_answer, student=Student(refuses="plan Who 1?"))
    assert made.refused == {("q1", 0): "content_filter"}
    assert sorted(made.completions) == [("q0", 0), ("q2", 0)]
    assert len(student.rounds[1]) == 2


@pytest.mark.parametrize("samples", [1, 2])
def test_first_prompts_are_those_of_the_first_round(samples: int) -> None:
    _, student = played(plan_then_answer, samples)
    assert first_prompts(Strategy(plan_then_answer), QUESTIONS, SETTINGS, samples) == student.rounds[0]


def test_a_strategy_may_answer_without_a_call() -> None:
    def give_up(question: Question, settings: Settings) -> Rounds:
        return Outcome("I do not know.", "stop")
        yield []

    made, student = played(give_up)
    assert (len(made.completions), student.rounds) == (3, [])
    assert made.completions["q0", 0] == Completion("q0", 0, "I do not know.", "stop", 0, 0)


def test_every_word_of_a_recipe_has_its_file() -> None:
    parts = {"__init__", "rounds", "strategy"}
    files = {path.stem for path in Path(strategies.__file__).parent.glob("*.py")} - parts
    assert files == set(get_args(StrategyName))
    assert all(isinstance(strategy_named(name), Strategy) for name in get_args(StrategyName))
