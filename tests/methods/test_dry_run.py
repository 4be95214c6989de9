import pytest
from gold_rows import gold_findings

from mbt_lite.methods.method import Batch, Extra
from mbt_lite.recipe.schema import RewardWeights
from mbt_lite.records import Question
from mbt_lite.rewards.terms import TERMS, RewardLimits

LIMITS = RewardLimits(max_completion_tokens=400, verification_words=40, overlong_buffer_tokens=50)
ALL_TERMS = RewardWeights(
    answer=1.0, exact=0.5, format=0.2, keep=0.5, dwell=0.2, redundancy=0.2, length=0.2
).model_dump()


def asked(answer: str = "Ana Ruiz", aliases: tuple[str, ...] = ("Ruiz",)) -> Question:
    return Question("q1", "Who directed it?", answer, aliases, (), "mbt")


@pytest.mark.parametrize("prefilled_think", [False, True])
@pytest.mark.parametrize(
    "weights",
    [
        pytest.param(RewardWeights().model_dump(), id="the paper's reward"),
        pytest.param({"answer": 1.0}, id="as a mapping"),
        pytest.param(ALL_TERMS, id="all terms"),
        pytest.param({"exact": 1.0, "keep": 0.5}, id="exact and keep"),
        pytest.param({"format": 1.0, "exact": 0.1}, id="format and a little exact"),
    ],
)
def test_gold_findings_is_empty_for_a_sound_reward(weights, prefilled_think: bool) -> None:
    assert gold_findings(asked(), weights, LIMITS, prefilled_think=prefilled_think) == []


@pytest.mark.parametrize("answer", ["no", "yes", "1912", "The Who", "北京", "a b c d"])
def test_gold_findings_is_empty_for_any_kind_of_answer(answer: str) -> None:
    assert gold_findings(asked(answer, ()), ALL_TERMS, LIMITS) == []


@pytest.mark.parametrize(
    ("weights", "broken", "cause"),
    [
        pytest.param({}, "a wrong answer", "no term tells them apart", id="no weights"),
        pytest.param({"answer": 0.0}, "a truncated completion", "no term tells them apart", id="weights of 0"),
        pytest.param({"format": 1.0}, "a wrong answer", "no term tells them apart", id="format alone"),
        pytest.param({"answer": -1.0}, "a wrong answer", "the term `answer` prefers it (by 1)", id="sign turned"),
        pytest.param({"answer": 1.0, "exact": -2.0}, "a wrong answer", "`exact`", id="one sign turned"),
        pytest.param({"answer": 1.0, "length": -3.0}, "a truncated completion", "`length`", id="paid to be cut off"),
        pytest.param({"answer": 1.0, "keep": -2.0}, "an unclosed think block", "`keep`", id="paid to lose it"),
    ],
)
def test_gold_findings_names_the_broken_completion_and_the_term(weights, broken: str, cause: str) -> None:
    found = [line for line in gold_findings(asked(), weights, LIMITS) if f": {broken} scores no less" in line]
    assert len(found) == 1
    assert found[0].startswith("reward of question q1: ")
    assert cause in found[0]


def test_gold_findings_reports_every_broken_completion() -> None:
    assert len(gold_findings(asked(), dict.fromkeys(TERMS, 0.0), LIMITS)) == 4


def test_gold_findings_reports_an_answer_that_cannot_be_read_back() -> None:
    found = gold_findings(asked("Ana</answer>Ruiz", ()), {"answer": 1.0}, LIMITS)
    assert [name for name in ("answer", "exact") if any(f"below 1 on `{name}`" in line for line in found)] == [
        "answer",
        "exact",
    ]


def test_gold_findings_reports_a_gold_completion_that_does_not_fit() -> None:
    (found,) = gold_findings(asked("word " * 100, ()), {"answer": 1.0}, LIMITS)
    assert "does not fit" in found
    assert "max_completion_tokens 400" in found


class Numbers(Extra):
    """An extra with a number for each sample of the dry run, the gold one first."""

    name = "numbers"
    wants_log_probs = True

    def __init__(self, *numbers: float) -> None:
        self.numbers, self.batches = numbers, []

    def __call__(self, batch: Batch) -> list[float]:
        self.batches.append(batch)
        return [*self.numbers] * (len(batch.ids) // len(self.numbers))


def test_an_extra_joins_the_gold_dry_run_and_is_named() -> None:
    assert gold_findings(asked(), {"answer": 1.0}, LIMITS, extras=(Numbers(1, 0, 0, 0, 0),)) == []
    [found] = gold_findings(asked(), {"answer": 1.0}, LIMITS, extras=(Numbers(0, 1.5, 0, 0, 0),))
    assert found == (
        "reward of question q1: a wrong answer scores no less than the gold completion (got 1.5 against 1); "
        "the extra `numbers` prefers it (by 1.5); lower its weight"
    )


def test_the_dry_run_gives_an_extra_a_question_as_a_group_of_certain_tokens() -> None:
    extra = Numbers(1, 0, 0, 0, 0)
    gold_findings(asked(), {"answer": 1.0}, LIMITS, extras=(extra,))
    [batch] = extra.batches
    assert (batch.group_size, batch.step, batch.stopped) == (5, 1, [True, True, True, True, False])
    assert batch.columns == {"question_id": ["q1"] * 5, "golds": [["Ana Ruiz", "Ruiz"]] * 5}
    assert batch.log_probs == [[0.0] * len(ids) for ids in batch.ids]
    assert [terms["exact"] for terms in batch.terms] == [1.0, 0.0, 0.0, 0.0, 0.0]
