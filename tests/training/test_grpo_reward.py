"""The adapter to TRL, called as TRL 1.16 calls a reward function: everything by keyword, more than is used."""

import inspect
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from mbt_lite.methods.law import Law
from mbt_lite.methods.method import Batch, Extra
from mbt_lite.rewards.scorer import Scorer
from mbt_lite.rewards.terms import TERMS, RewardLimits
from mbt_lite.training.grpo_reward import MethodReward

# One token a word; 0 ends the turn, 99 is another token that does.
WORDS = ("<end>", "<think>", "</think>", "<answer>", "</answer>", "it", "is", "Rome", "Paris", "New", "York", "City")
IDS = {word: number for number, word in enumerate(WORDS)}
OTHER_END = 99
LIMITS = RewardLimits(max_completion_tokens=12, verification_words=2, overlong_buffer_tokens=4)
WEIGHTS = {"answer": 1.0, "exact": 0.5, "format": 0.25, "keep": 0.25, "redundancy": 0.4, "length": 0.2}

RIGHT = "<think> it is Rome </think> <answer> Rome </answer>"
LOST = "<think> it is Rome </think> <answer> Paris </answer>"
NEAR = "<think> it is Paris </think> <answer> New York City </answer>"
CUT = "<think> it is Rome it is Rome it is Rome it is"


def ids(text: str, *end: int) -> list[int]:
    return [*(IDS[word] for word in text.split()), *end]


class Desk:
    """What TRL hands to a reward function, and what comes back through it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.metrics: dict[str, float] = {}
        self.extras: list[str] = []

    def reward(self, *extras: Any, prefilled_think: bool = False) -> MethodReward:
        def decode(tokens: Sequence[int]) -> str:
            return " ".join(WORDS[token] for token in tokens)

        stop_ids = frozenset({0, OTHER_END})
        method = Law(WEIGHTS, LIMITS.max_completion_tokens, extras)
        scorer = Scorer(decode, stop_ids, LIMITS, prefilled_think)
        return MethodReward(method, scorer, ("question_id", "golds"), 2, self.rows.extend)

    def call(self, reward: MethodReward, completion_ids: list[list[int]], golds: list[list[str]]) -> list[float | None]:
        n = len(completion_ids)
        return reward(
            prompts=[[{"role": "user", "content": "where?"}]] * n,
            completions=[[{"role": "assistant", "content": "as TRL parsed it"}]] * n,
            completion_ids=completion_ids,
            question_id=[f"q{number}" for number in range(n)],
            golds=golds,
            log_probs=[[-0.5] * len(row) for row in completion_ids],
            trainer_state=SimpleNamespace(global_step=4),
            log_extra=lambda column, values: self.extras.append(column),
            log_metric=self.metrics.__setitem__,
        )


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def four(desk: Desk) -> list[float | None]:
    """Rewards of a right, a lost, a near and a cut-off completion."""
    completion_ids = [ids(RIGHT, 0), ids(LOST, 0), ids(NEAR, OTHER_END), ids(CUT)]
    return desk.call(desk.reward(), completion_ids, [["Rome"], ["Rome"], ["New York", "NYC"], ["Rome"]])


def test_law_reward_gives_the_weighed_terms_of_each_completion(four: list[float | None]) -> None:
    # lengths 9, 9, 11 and 12 tokens, with nothing due up to 12 - 4: -1/4, -1/4, -3/4 and -1 where it is cut off
    right = 1 + 0.5 + 0.25 - 0.2 / 4
    lost = 0.25 - 0.25 - 0.2 / 4
    near = 0.8 + 0.25 - 0.2 * 3 / 4
    # of its 8 word 4-grams 5 occurred before, and Rome was mentioned
    cut = -0.25 - 0.4 * 5 / 8 - 0.2
    assert four == pytest.approx([right, lost, near, cut], abs=1e-12)


def test_law_reward_logs_the_mean_of_every_term_and_how_many_stopped(desk: Desk, four: list[float | None]) -> None:
    assert desk.metrics.keys() == {
        *(f"reward/{name}" for name in TERMS),
        "stop_rate",
    }
    assert desk.metrics == pytest.approx(
        {
            "reward/answer": 1.8 / 4,
            "reward/exact": 1 / 4,
            "reward/format": 3 / 4,
            "reward/keep": -2 / 4,
            "reward/dwell": 0.0,
            "reward/redundancy": -5 / 8 / 4,
            "reward/length": -(1 / 4 + 1 / 4 + 3 / 4 + 1) / 4,
            "stop_rate": 3 / 4,
        }
    )
    assert desk.extras == []


def test_law_reward_records_each_completion_under_the_step_it_is_for(desk: Desk, four: list[float | None]) -> None:
    assert [row["question_id"] for row in desk.rows] == ["q0", "q1", "q2", "q3"]
    assert {row["step"] for row in desk.rows} == {5}
    assert [row["finish_reason"] for row in desk.rows] == ["stop", "stop", "stop", "length"]
    assert [row["completion_tokens"] for row in desk.rows] == [9, 9, 11, 12]
    assert [row["text"] for row in desk.rows] == [RIGHT, LOST, NEAR, CUT]
    assert [row["reward"] for row in desk.rows] == four
    assert desk.rows[1]["terms"] == {
        "answer": 0.0, "exact": 0.0, "format": 1.0, "keep": -1.0,
        "dwell": 0.0, "redundancy": 0.0, "length": -0.25,
    }  # fmt: skip


def test_law_reward_reads_a_think_block_that_the_template_opened(desk: Desk) -> None:
    text = RIGHT.removeprefix("<think> ")
    [plain] = desk.call(desk.reward(), [ids(text, 0)], [["Rome"]])
    [prefilled] = desk.call(desk.reward(prefilled_think=True), [ids(text, 0)], [["Rome"]])
    assert (plain, prefilled) == (1.5, 1.75)


def test_law_reward_of_an_empty_completion_counts_as_cut_off(desk: Desk) -> None:
    assert desk.call(desk.reward(), [[]], [["Rome"]]) == [-0.2]
    assert desk.rows[0]["finish_reason"] == "length"


def test_law_reward_refuses_columns_of_another_length(desk: Desk) -> None:
    with pytest.raises(ValueError, match="shorter"):
        desk.call(desk.reward(), [ids(RIGHT, 0), ids(LOST, 0)], [["Rome"]])
    assert desk.rows == []


class Halves(Extra):
    """An extra: half the tokens that the batch says, and what it was given."""

    name = "halves"
    wants_log_probs = False

    def __init__(self, wants_log_probs: bool) -> None:
        self.wants_log_probs, self.batches = wants_log_probs, list[Batch]()

    def __call__(self, batch: Batch) -> list[float]:
        self.batches.append(batch)
        return [len(ids) / 2 for ids in batch.ids]


def test_extras_are_added_to_the_law_and_logged(desk: Desk) -> None:
    completion_ids, golds = [ids(RIGHT, 0), ids(CUT)], [["Rome"], ["Rome"]]
    plain = desk.call(desk.reward(), completion_ids, golds)
    assert not [key for row in desk.rows for key in row if key.startswith("extra/")], "off means off"
    more = desk.call(desk.reward(Halves(False)), completion_ids, golds)
    assert more == [value + half for value, half in zip(plain, (4.5, 6.0), strict=True)]  # type: ignore[operator]
    assert [row["extra/halves"] for row in desk.rows[2:]] == [4.5, 6.0]
    assert desk.metrics["extra/halves"] == 5.25


@pytest.mark.parametrize("wanted", [False, True])
def test_the_batch_holds_what_trl_hands_over(desk: Desk, wanted: bool) -> None:
    extra = Halves(wanted)
    reward = desk.reward(extra)
    desk.call(reward, [ids(RIGHT, 0), ids(CUT)], [["Rome"], ["Rome"]])
    [batch] = extra.batches
    assert (batch.ids, batch.texts) == ([ids(RIGHT, 0), ids(CUT)], [RIGHT, CUT])
    assert (batch.stopped, batch.step, batch.group_size) == ([True, False], 5, 2)
    assert batch.columns == {"question_id": ["q0", "q1"], "golds": [["Rome"], ["Rome"]]}
    assert [terms["exact"] for terms in batch.terms] == [1.0, 0.0]
    assert batch.log_probs == ([[-0.5] * 9, [-0.5] * 12] if wanted else None)


def test_law_reward_is_what_trl_takes_for_a_plain_function(desk: Desk) -> None:
    reward: Callable[..., Any] = desk.reward()
    assert reward.__name__ == "law"
    assert not inspect.iscoroutinefunction(reward.__call__)
