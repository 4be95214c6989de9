"""Attacks on the reward: none earns more than a right completion, and each that earns more than a wrong one is told."""

from pathlib import Path

import pytest
from gold_rows import encode, scorer_of

from mbt_lite.data.questions import read_questions
from mbt_lite.methods.attacks import GOLD, WRONG, Attacked
from mbt_lite.methods.law import Law, law_of, limits_of
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.schema import Questions
from mbt_lite.records import Document, Question
from mbt_lite.rewards.terms import RewardLimits

ROOT = Path(__file__).parents[2]
RECIPES = sorted(ROOT.glob("recipes/**/*.yaml"))
LIMITS = RewardLimits(max_completion_tokens=900, verification_words=40, overlong_buffer_tokens=50)
# token F1, the paper's reward, pays a list that holds the answer a little
PAID_BY_F1 = ["a copy of the documents as answer", "every name as answer"]
# saying that a wrong answer is wrong costs nothing; a bridge among 40 steps is one more than none
PAID_FOR_CONFIDENCE = ["wrong on purpose, and unsure", "confidence stated twice", "40 steps"]
DOCUMENTS = (
    Document("The Long Bridge", "The Long Bridge is a film by Ana Ruiz.", True),
    Document("Ana Ruiz", "Ana Ruiz was born in Lima.", True),
    Document("Oslo", "Oslo is a town.", False),
)


def question(answer: str = "Lima") -> Question:
    return Question("q1", "Where was the director of The Long Bridge born?", answer, (), DOCUMENTS, "mbt")


def attacked(weights: dict[str, float], asked: Question | None = None, prefilled: bool = False) -> Attacked:
    law = Law(weights, LIMITS.max_completion_tokens)
    return law.attacked([asked or question()], scorer_of(LIMITS, prefilled), encode)


@pytest.mark.parametrize("prefilled", [False, True])
def test_attack_gives_the_rewards_that_the_terms_give_by_hand(prefilled: bool) -> None:
    found = attacked({"answer": 1.0, "format": 0.5}, question("Ana Ruiz"), prefilled)
    rewards = dict(found.rewards)
    assert (rewards[GOLD], rewards[WRONG]) == (1.5, 0.5)
    assert rewards["an empty completion"] == 0.0
    assert rewards["an empty answer in the right form"] == 0.5
    # "the" is no word: 2 of 5 words, 2 of 2
    assert rewards["every name as answer"] == pytest.approx(0.5 + 2 * (2 / 5) * 1 / (2 / 5 + 1))
    # the last one counts, Oslo
    assert rewards["an answer tag for every name"] == 0.0
    assert found.findings == ()
    assert found.above_wrong["every name as answer"] == 1


def test_told_names_the_attacks_that_earn_more_than_a_wrong_answer() -> None:
    assert attacked({"exact": 1.0, "format": 0.1}).told == []
    told = attacked({"answer": 1.0}, question("Ana Ruiz")).told
    assert [line.partition(" earns")[0] for line in told] == PAID_BY_F1
    assert told[1] == (
        "every name as answer earns 0.57, an honest wrong answer 0.00, the gold completion 1.00 "
        "(above the wrong one on 1 of 1 questions)"
    )


def test_findings_stop_a_reward_that_pays_an_attack_more_than_the_gold_one() -> None:
    """Paid for losing the answer: a copy of the documents mentions it, and the answer is wrong."""
    found = attacked({"answer": 0.2, "keep": -1.0}).findings
    assert found[0].startswith("reward of question q1: a copy of the documents scores no less than the gold completion")
    assert "the term `keep` prefers it (by 1); lower its weight" in found[0]


def test_attacks_end_by_themselves_within_the_limit() -> None:
    """What is cut off has no format: the attack would fail by its length alone."""
    rewards = attacked({"answer": 1.0, "format": 1.0}).rewards
    assert rewards["padding"] == rewards["one sentence, repeated"] == rewards["a copy of the documents"] == 1.0


def test_attack_of_a_question_without_documents_and_of_a_small_room() -> None:
    limits = RewardLimits(max_completion_tokens=20, verification_words=4, overlong_buffer_tokens=5)
    bare = Question("q1", "who?", "x", (), (), "mbt")
    found = Law({"answer": 1.0}, 20).attacked([bare], scorer_of(limits), encode)
    assert set(found.rewards) >= {GOLD, WRONG, "padding"}


@pytest.mark.parametrize("recipe", RECIPES, ids=[path.stem for path in RECIPES])
def test_no_attack_beats_gold_under_a_shipped_recipe_and_what_pays_is_told(recipe: Path) -> None:
    whole = load_recipe(recipe, ["grpo.max_completion_tokens=4096"])
    grpo, asked = whole.grpo, whole.data.train.ask_for
    samples = [
        one
        for name in ("demo_train", "multihop_train")
        for one in read_questions(Questions(path=str(ROOT / f"data_samples/{name}.jsonl"), limit=12, ask_for=asked), 0)
    ]
    law, scorer = law_of(grpo), scorer_of(limits_of(grpo))
    assert law.findings(samples, scorer, encode) == []
    found = law.attacked(samples, scorer, encode)
    assert found.findings == ()
    told = [line.partition(" earns")[0] for line in found.told]
    # without the line of confidence they lose more than F1 pays
    paid = [] if grpo.confidence.weight else PAID_BY_F1
    assert [name for name in told if name not in PAID_FOR_CONFIDENCE] == paid
    assert all(found.rewards[name] < 0.5 * found.rewards[GOLD] for name in found.rewards if name != GOLD)
    if grpo.ccrl.weight:
        # next to nothing: most of what silence costs
        assert found.rewards["40 steps"] - found.rewards[WRONG] < 0.1 * grpo.ccrl.weight
