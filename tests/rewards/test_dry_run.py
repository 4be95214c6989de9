import pytest

from mbt_lite.recipe.schema import RewardWeights
from mbt_lite.records import Question
from mbt_lite.rewards.dry_run import gold_findings
from mbt_lite.rewards.law import TERM_NAMES, RewardLimits

LIMITS = RewardLimits(max_completion_tokens=400, verification_words=40, overlong_buffer_tokens=50)
ALL_TERMS = RewardWeights(answer=1.0, exact=0.5, format=0.2, keep=0.5, dwell=0.2, redundancy=0.2, length=0.2)


def asked(answer: str = "Ana Ruiz", aliases: tuple[str, ...] = ("Ruiz",)) -> Question:
    return Question("q1", "Who directed it?", answer, aliases, (), "mbt")


@pytest.mark.parametrize("prefilled_think", [False, True])
@pytest.mark.parametrize(
    "weights",
    [
        pytest.param(RewardWeights(), id="the paper's reward"),
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


def test_gold_findings_takes_a_real_trace() -> None:
    trace = "The film is by Ana Ruiz. " + " ".join(f"word{i}" for i in range(200))
    assert gold_findings(asked(), {"exact": 1.0}, LIMITS, trace=trace) == []
    assert gold_findings(asked(), {"exact": 1.0}, LIMITS, trace="") == []


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
    assert len(gold_findings(asked(), dict.fromkeys(TERM_NAMES, 0.0), LIMITS)) == 4


def test_gold_findings_reports_an_answer_that_cannot_be_read_back() -> None:
    found = gold_findings(asked("Ana</answer>Ruiz", ()), {"answer": 1.0}, LIMITS)
    assert [name for name in ("answer", "exact") if any(f"below 1 on `{name}`" in line for line in found)] == [
        "answer",
        "exact",
    ]


def test_gold_findings_reports_a_gold_completion_that_does_not_fit() -> None:
    (found,) = gold_findings(asked(), {"answer": 1.0}, LIMITS, count_tokens=len, trace="word " * 100)
    assert "does not fit" in found
    assert "max_completion_tokens 400" in found
