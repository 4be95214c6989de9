"""Judged measures by hand, the golden values of reach and quality among them."""

import dataclasses

import pytest

from mbt_lite.metrics.judged import BaseLengths, JudgedCompletion, aggregate_judged, base_lengths, measures

# Ten sentences in four paragraphs: 4, 3, 1, 2.
ONE = JudgedCompletion(
    question_id="q", tier="easy", completion_tokens=671, accuracy="correct", hit=True, useful_share=0.75,
    metacognition=3, level=4, phases=("plan", "verify"), sentences=(4, 3, 1, 2), reach_scored=True,
    first_correct=1, redundant=(4,),
)  # fmt: skip
BASE = BaseLengths(tokens=1342.0, sentences=20.0)


def test_measures_golden_values() -> None:
    found = measures(ONE, BASE)
    # first correct 4 of 10, redundant 2: rho .4, delta .2, R .685714; level 4 at half the base's length: 8
    assert (found["reach"], found["redundancy"]) == (0.4, 0.2)
    assert found["balance"] == pytest.approx(0.685714, abs=1e-6)
    assert found["quality"] == 8.0
    assert (found["phase_coverage"], found["phase/plan"], found["phase/self_correct"]) == (0.4, 1.0, 0.0)
    assert (found["reach_by_base"], found["redundancy_by_base"]) == (0.2, 0.1)
    assert found["balance_by_base"] == pytest.approx(2 * 0.8 * 0.9 / 1.7)
    never = measures(dataclasses.replace(ONE, first_correct=None), BASE)
    assert (never["reach"], never["redundancy"], never["balance"]) == (1.0, 0.2, 0.0)


def test_measures_of_a_right_answer_are_about_overthinking() -> None:
    found = measures(ONE, BASE)
    assert (found["accuracy"], found["not_attempted"], found["answer_inclusive_error"]) == (1.0, 0.0, 0.0)
    assert (found["overthinking"], found["underthinking"]) == (0.25, None)


@pytest.mark.parametrize("accuracy", ["incorrect", "not attempted"])
def test_measures_of_a_wrong_answer_are_about_underthinking(accuracy: str) -> None:
    found = measures(dataclasses.replace(ONE, accuracy=accuracy), BASE)
    assert (found["accuracy"], found["not_attempted"]) == (0.0, float(accuracy == "not attempted"))
    assert (found["overthinking"], found["underthinking"], found["answer_inclusive_error"]) == (None, 0.25, 1.0)


def test_measures_have_no_value_without_their_verdicts() -> None:
    empty = JudgedCompletion("q", "easy", 10, None, None, None, None, None, None, (2,), False, None, ())
    assert set(measures(empty, BASE).values()) == {None}
    unsure = measures(dataclasses.replace(ONE, accuracy=None), BASE)
    assert {name for name, value in unsure.items() if value is None} == {
        "accuracy", "not_attempted", "answer_inclusive_error", "overthinking", "underthinking",
    }  # fmt: skip


def test_measures_without_a_base_have_no_relative_length() -> None:
    found = measures(ONE, None)
    assert {name for name, value in found.items() if value is None} == {
        "underthinking", "reach_by_base", "redundancy_by_base", "balance_by_base", "quality",
    }  # fmt: skip


def test_base_lengths_leave_traces_out_that_are_not_there() -> None:
    without = dataclasses.replace(ONE, sentences=(), completion_tokens=29)
    assert base_lengths([ONE, without]) == BaseLengths(tokens=350.0, sentences=10.0)
    assert base_lengths([dataclasses.replace(without, completion_tokens=0)]) == BaseLengths(None, None)


def test_aggregate_judged_means_over_questions_and_by_tier() -> None:
    rows = [
        ONE,
        dataclasses.replace(ONE, question_id="q", accuracy="incorrect"),
        dataclasses.replace(ONE, question_id="r", tier="hard", accuracy="incorrect", level=None),
    ]
    found = aggregate_judged(rows, BASE, samples=20, seed=0)
    assert found["metrics"]["accuracy"]["mean"] == 0.25
    assert found["metrics"]["overthinking"]["n"] == 1
    assert found["metrics"]["underthinking"]["n"] == 2
    assert found["metrics"]["metacognition"]["mean"] == 3
    assert found["quality_by_tier"]["easy"]["mean"] == 8.0
    assert found["quality_by_tier"]["hard"]["undefined_reason"] == "no completion was scored for this"


def test_aggregate_judged_of_levels_0_and_1_is_no_share() -> None:
    rows = [dataclasses.replace(ONE, question_id=str(i), metacognition=0) for i in range(30)]
    found = aggregate_judged(rows, BASE, samples=20, seed=0)["metrics"]["metacognition"]
    assert (found["mean"], found["low"], found["high"]) == (0, 0, 0)
