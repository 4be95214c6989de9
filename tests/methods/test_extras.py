"""Confidence on top of the law: what steps and stated confidence earn, what is told of them, and what cheats earn."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pytest
from gold_rows import END_OF_TURN, encode, scorer_of

from mbt_lite.methods.attacks import GOLD, WRONG, Attacked
from mbt_lite.methods.extras import extras_of
from mbt_lite.methods.law import Law, law_of
from mbt_lite.methods.method import Batch
from mbt_lite.recipe.schema import Ccrl, Confidence, Grpo, Reward, RewardWeights
from mbt_lite.records import Document, Question
from mbt_lite.rewards.terms import RewardLimits

LIMITS = RewardLimits(max_completion_tokens=4000, verification_words=40, overlong_buffer_tokens=50)
WEIGHTS = RewardWeights(answer=1.0, format=0.1, length=0.1)
DOCUMENTS = (
    Document("The Long Bridge", "The Long Bridge is a film by Ana Ruiz.", True),
    Document("Ana Ruiz", "Ana Ruiz was born in Lima.", True),
    Document("Oslo", "Oslo is a town.", False),
)
QUESTION = Question(
    "q1", "Where was the director of The Long Bridge born?", "Lima", (), DOCUMENTS, "mbt",
    bridges=("Ana Ruiz",), ask_for="steps",
)  # fmt: skip
SURE_OF = Question(
    **{**{f.name: getattr(QUESTION, f.name) for f in dataclasses.fields(Question)}, "ask_for": "confidence"}
)
RIGHT = "<think>\nStep 1: director -> Ana Ruiz [90]\nStep 2: born -> Lima\n</think>\n\n<answer>Lima</answer>"
WRONG_STEP = "<think>\nStep 1: director -> Bo Ek [40]\nStep 2: who -> Ana Ruiz\n</think>\n\n<answer>Oslo</answer>"
SILENT = "<think>\nIt is Ana Ruiz.\n</think>\n\n<answer>Lima</answer>"


def law(**settings: Any) -> Law:
    grpo = Grpo(max_completion_tokens=4000, reward=Reward(weights=WEIGHTS, overlong_buffer_tokens=50), **settings)
    return law_of(grpo)


def batch(texts: Sequence[str], question: Question = QUESTION, sure: float = 1.0, stops: bool = True) -> Batch:
    """Give completions as a batch of character tokens, each as sure."""
    scorer = scorer_of(LIMITS)
    ids = [[*encode(text), *([END_OF_TURN] if stops else [])] for text in texts]
    golds = [list(question.golds)] * len(ids)
    scored = scorer.score(ids, golds)
    columns: dict[str, Any] = {"question_id": [question.question_id] * len(ids), "golds": golds}
    log_probs = [[math.log(sure)] * len(row) for row in ids]
    given = (ids, scored.texts, scored.stopped, scored.terms, columns, len(ids), 1, log_probs)
    return Batch(*given, questions=[question] * len(ids), decode=scorer.decode)


def test_extras_are_none_unless_they_are_weighed() -> None:
    assert extras_of(Grpo()) == ()
    plain = law().reward(batch([RIGHT, SILENT]))
    assert plain == Law(WEIGHTS.model_dump(), 4000).reward(batch([RIGHT, SILENT])), "off means off"
    assert (plain.extras, plain.figures) == ({}, {})


def test_steps_earn_by_the_probability_of_what_was_found() -> None:
    [extra] = extras_of(Grpo(ccrl=Ccrl(weight=0.2)))
    assert extra.wants_log_probs
    found = batch([RIGHT, WRONG_STEP, SILENT], sure=0.8)
    wrong = (2 * 0.8 - 0.64 - 0.64) / 2
    assert extra(found) == pytest.approx([0.2 * 0.96, 0.2 * wrong, -0.2])
    # only the tokens of what was found count
    assert found.log_probs is not None
    [start] = [RIGHT.index("Ana Ruiz")]
    row = [math.log(0.5)] * len(found.ids[0])
    row[start : start + 8] = [math.log(0.9)] * 8
    changed = dataclasses.replace(found, log_probs=[row, *found.log_probs[1:]])
    assert extra(changed)[0] == pytest.approx(0.2 * 0.99)


def test_stated_steps_earn_by_what_they_state_and_count_as_certain_without() -> None:
    [extra] = extras_of(Grpo(ccrl=Ccrl(weight=1.0, confidence="stated")))
    assert not extra.wants_log_probs
    found = dataclasses.replace(batch([RIGHT, WRONG_STEP]), log_probs=None, decode=None)
    assert extra(found) == pytest.approx([0.99, (1 - 0.16) / 2])
    [linear] = extras_of(Grpo(ccrl=Ccrl(weight=1.0, confidence="stated", law="linear")))
    assert linear(found) == pytest.approx([0.9, (1 - 0.4) / 2])


def test_steps_of_a_question_without_bridges_earn_and_tell_nothing() -> None:
    [extra] = extras_of(Grpo(ccrl=Ccrl(weight=0.2)))
    found = batch([RIGHT, SILENT], dataclasses.replace(QUESTION, bridges=()))
    assert extra(found) == [0.0, 0.0]
    assert extra.figures(found) == {}


@pytest.mark.parametrize(
    ("right", "term", "reward"), [(True, 0.175, 1.035), (False, 1.0, 0.2), (True, -1.0, 0.8)],
)  # fmt: skip
def test_the_golden_rewards(right: bool, term: float, reward: float) -> None:
    """Of a law that gives 1 for right and 0 for wrong."""

    class Given:
        name, wants_log_probs = "ccrl", False

        def __call__(self, batch: Batch) -> list[float]:
            return [0.2 * term]

        def figures(self, batch: Batch) -> dict[str, float]:
            return {}

        def healthy_ranges(self) -> tuple[()]:
            return ()

    found = batch([RIGHT if right else RIGHT.replace("<answer>Lima", "<answer>Oslo")])
    assert Law({"answer": 1.0}, 4000, (Given(),)).reward(found).rewards == pytest.approx([reward])


def test_figures_of_steps_by_hand() -> None:
    figures = law(ccrl=Ccrl(weight=0.2)).reward(batch([RIGHT, WRONG_STEP, SILENT], sure=0.9)).figures
    assert figures == pytest.approx(
        {
            "ccrl/n": 3, "ccrl/spans": 1.0, "ccrl/missing": 1 / 3, "ccrl/right": 2 / 3,
            "ccrl/confidence_right": 0.9, "ccrl/confidence_wrong": 0.9, "ccrl/overconfident": 1.0,
        }
    )  # fmt: skip
    silent = law(ccrl=Ccrl(weight=0.2)).reward(batch([SILENT])).figures
    assert silent == {"ccrl/n": 0, "ccrl/spans": 0.0, "ccrl/missing": 1.0}, "what nothing tells is left out"


def test_steps_are_calibrated_from_ten_on_with_what_chance_would_give() -> None:
    figures = law(ccrl=Ccrl(weight=0.2)).reward(batch([WRONG_STEP] * 5, sure=0.9)).figures
    assert figures["ccrl/n"] == 10
    assert figures["ccrl/ece"] == pytest.approx(0.4)
    # ten of 0.9 each: E |share - 0.9| of a binomial
    assert figures["ccrl/ece_if_perfect"] == pytest.approx(0.077, abs=0.01)
    assert "ccrl/ece" not in law(ccrl=Ccrl(weight=0.2)).reward(batch([WRONG_STEP] * 4)).figures


def sure_text(line: str, answer: str = "Lima") -> str:
    return f"<think>\nIt is {answer}.\n{line}\n</think>\n\n<answer>{answer}</answer>"


@pytest.mark.parametrize(
    ("line", "answer", "earned"),
    [
        ("Confidence: 100", "Lima", 1),
        ("Confidence: 70", "Lima", 0.91),
        ("Confidence: 70", "Oslo", -0.49),
        ("Confidence: 0", "Oslo", 0),
        ("Confidence: 100", "Oslo", -1),
        ("Very sure.", "Lima", -1),
        ("Confidence: 100\nAll the same.", "Lima", -1),
    ],
)
def test_confidence_in_the_answer_golden(line: str, answer: str, earned: float) -> None:
    [extra] = extras_of(Grpo(confidence=Confidence(weight=0.5)))
    assert extra(batch([sure_text(line, answer)], SURE_OF)) == pytest.approx([0.5 * earned])


def test_a_right_answer_that_did_not_stop_is_not_right() -> None:
    [extra] = extras_of(Grpo(confidence=Confidence(weight=1.0)))
    assert extra(batch([sure_text("Confidence: 70")], SURE_OF, stops=False)) == pytest.approx([-0.49])


def test_figures_of_confidence_by_hand() -> None:
    texts = [sure_text("Confidence: 70"), sure_text("Confidence: 90", "Oslo"), sure_text("Hm.")]
    assert law(confidence=Confidence(weight=0.5)).reward(batch(texts, SURE_OF)).figures == pytest.approx(
        {
            "confidence/n": 2, "confidence/stated": 2 / 3, "confidence/confidence_right": 0.7,
            "confidence/confidence_wrong": 0.9, "confidence/overconfident": 1.0,
        }
    )  # fmt: skip


def test_the_rules_of_an_extra_join_the_laws() -> None:
    more = [rule.name for rule in law(ccrl=Ccrl(weight=0.2)).healthy_ranges()]
    assert more[: len(law().healthy_ranges())] == [rule.name for rule in law().healthy_ranges()]
    assert more[len(law().healthy_ranges()) :] == ["ccrl/spans", "ccrl/right", "ccrl/overconfident"]


STEPS = {"ccrl": Ccrl(weight=0.39)}
STATED_STEPS = {"ccrl": Ccrl(weight=0.39, confidence="stated")}
ANSWER = {"confidence": Confidence(weight=0.79)}


@pytest.mark.parametrize("prefilled", [False, True])
@pytest.mark.parametrize(
    ("settings", "question"), [(STEPS, QUESTION), (STATED_STEPS, QUESTION), (ANSWER, SURE_OF)],
    ids=["steps", "stated steps", "confidence"],
)  # fmt: skip
def test_gold_is_preferred_up_to_the_bound(settings: dict[str, Any], question: Question, prefilled: bool) -> None:
    weighed, scorer = law(**settings), scorer_of(LIMITS, prefilled)
    assert weighed.findings([question], scorer, encode) == []
    attacked = weighed.attacked([question], scorer, encode)
    assert attacked.findings == ()
    [name] = settings
    assert attacked.rewards[GOLD] == pytest.approx(1.1 + settings[name].weight)


def attacked(question: Question, **settings: Any) -> Attacked:
    return law(**settings).attacked([question], scorer_of(LIMITS), encode)


def test_no_cheat_on_steps_earns_more_than_an_honest_wrong_answer_but_by_naming() -> None:
    found = attacked(QUESTION, ccrl=Ccrl(weight=0.2)).rewards
    silent = 0.1 - 0.2
    assert found[WRONG] == pytest.approx(silent)
    for cheat in ("a plan never executed", "all names in one step", "the gold as a step"):
        assert found[cheat] == pytest.approx(silent), cheat
    # of 38 names and nobodies one is the bridge; "The Long Bridge" stands in the question
    assert found["40 steps"] == pytest.approx(0.1 + 0.2 * (1 - 38) / 39)
    assert found["steps that copy the question"] == pytest.approx(silent)


def test_cheats_on_confidence_are_told() -> None:
    found = attacked(SURE_OF, confidence=Confidence(weight=0.5))
    rewards = found.rewards
    assert rewards[WRONG] == pytest.approx(0.1 - 0.5 / 4)
    for cheat in ("sure whatever comes", "confidence in the middle", "confidence in words"):
        assert rewards[cheat] == pytest.approx(0.1 - 0.5), cheat
    # as much as an answer that is left out: below any right one
    unsure = rewards["wrong on purpose, and unsure"]
    assert unsure == rewards["confidence stated twice"] == pytest.approx(0.1)
    assert law(confidence=Confidence(weight=0.5)).reward(batch([sure_text("Hm.")], SURE_OF)).rewards[0] > unsure
    assert [line.partition(" earns")[0] for line in found.told] == [
        "wrong on purpose, and unsure", "confidence stated twice",
    ]  # fmt: skip


def test_what_is_not_asked_for_is_neither_written_nor_cheated_at() -> None:
    plain = dataclasses.replace(QUESTION, ask_for="answer")
    names = attacked(plain).rewards.keys()
    assert attacked(QUESTION).rewards.keys() - names == {
        "a plan never executed", "all names in one step", "steps that copy the question", "40 steps",
        "the gold as a step",
    }  # fmt: skip
    assert attacked(SURE_OF).rewards.keys() - names == {
        "sure whatever comes", "wrong on purpose, and unsure", "confidence stated twice", "confidence in the middle",
        "confidence in words",
    }  # fmt: skip
