import itertools
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.metrics.answers import maj_at_k, pass_at_k
from mbt_lite.metrics.repeated import aggregate_at_k, ks
from mbt_lite.records import Prediction


def predicted(question: str, rollout: int, answer: str | None, gold: str = "Rome") -> Prediction:
    exact = int(answer == gold)
    return Prediction(
        question_id=question, variant="sft", rollout_index=rollout, text="", finish_reason="stop",
        completion_tokens=1, answer=answer, golds=(gold,), exact_match=exact, f1=float(exact), substring_match=exact,
        answered=1, stopped=1, degenerate=0, answer_hit=0,
    )  # fmt: skip


def answered(**answers: list[str | None]) -> list[Prediction]:
    return [predicted(question, i, answer) for question, given in answers.items() for i, answer in enumerate(given)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=8), st.data())
def test_pass_at_k_equals_the_mean_over_all_choices_of_k(right: list[int], data) -> None:
    k = data.draw(st.integers(1, len(right)))
    by_enumeration = statistics.fmean(max(chosen) for chosen in itertools.combinations(right, k))
    assert pass_at_k(len(right), sum(right), k) == pytest.approx(by_enumeration, abs=1e-12)


def test_aggregate_at_k_by_hand() -> None:
    rows = answered(a=["Rome", "Rome", "Oslo", "Bonn"], b=["Oslo", "Oslo", "Rome", None], c=[None] * 4)
    found = aggregate_at_k(rows, samples=50, seed=0)
    assert found["samples_per_question"] == 4
    means = {name: estimate["mean"] for name, estimate in found["at_k"].items()}
    assert means == pytest.approx(
        {
            "avg@1": 1 / 3, "maj@1": 1 / 3, "pass@1": (0.5 + 0.25 + 0) / 3,
            "avg@2": 1 / 3, "maj@2": 1 / 3, "pass@2": (1 - 1 / 6 + 0.5 + 0) / 3,
            "avg@4": (0.5 + 0.25) / 3, "maj@4": 1 / 3, "pass@4": 2 / 3,
        }
    )  # fmt: skip
    assert all(estimate["n"] == 3 for estimate in found["at_k"].values())


def test_aggregate_at_k_takes_what_every_question_has() -> None:
    rows = answered(a=["Rome", "Oslo", "Rome"], b=["Rome", "Rome"])
    found = aggregate_at_k(rows, samples=50, seed=0)
    assert found["samples_per_question"] == 2
    assert set(found["at_k"]) == {"avg@1", "maj@1", "pass@1", "avg@2", "maj@2", "pass@2"}
    # pass@k uses the third completion too: it is the better estimate
    assert found["at_k"]["pass@1"]["mean"] == pytest.approx((2 / 3 + 1) / 2)


def test_aggregate_at_k_of_one_completion_or_none_is_nothing_new() -> None:
    assert aggregate_at_k(answered(a=["Rome"]), samples=5, seed=0) == {"samples_per_question": 1, "at_k": {}}
    assert aggregate_at_k([], samples=5, seed=0) == {"samples_per_question": 0, "at_k": {}}


@pytest.mark.parametrize(("n", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])])
def test_ks(n: int, expected: list[int]) -> None:
    assert ks(n) == expected


def test_maj_at_k_takes_the_votes_of_the_first_k() -> None:
    assert maj_at_k(["Oslo", "Rome", "Rome"][:2], ["Rome"]) == 0
    assert maj_at_k(["Oslo", "Rome", "Rome"], ["Rome"]) == 1
