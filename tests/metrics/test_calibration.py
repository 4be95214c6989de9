"""Calibration by hand, and against scikit-learn where it has the same measure."""

import random

import numpy as np
import pytest

from mbt_lite.metrics.calibration import (
    abstain,
    accuracy_at_coverage,
    auroc,
    bin_of,
    bins,
    brier,
    expected_calibration_error,
    isotonic,
    null_calibration_error,
    overconfident,
    risk_coverage,
)

SURE = [0.95, 0.9, 0.8, 0.65, 0.6, 0.3, 0.2, 0.05]
RIGHT = [1, 1, 0, 1, 0, 0, 1, 0]


def made_up(n: int, seed: int, levels: int = 101) -> tuple[list[float], list[int]]:
    generator = random.Random(seed)
    sure = [generator.randrange(levels) / (levels - 1) for _ in range(n)]
    return sure, [int(generator.random() < 0.2 + 0.6 * one) for one in sure]


def test_golden_values() -> None:
    risks = risk_coverage(SURE, RIGHT)
    assert expected_calibration_error(SURE, RIGHT) == pytest.approx(0.29375)
    assert brier(SURE, RIGHT) == pytest.approx(0.233438, abs=1e-6)
    assert auroc(SURE, list(map(bool, RIGHT)), 50, 0)["mean"] == 0.75
    assert overconfident(SURE, RIGHT) == 0.25
    assert sum(risks) / len(risks) == pytest.approx(0.301488, abs=1e-6)
    assert accuracy_at_coverage(risks, 0.5) == 0.75
    assert accuracy_at_coverage(risks, 0.8) == pytest.approx(0.571429, abs=1e-6)
    assert abstain(SURE, RIGHT, 0.5) == pytest.approx(
        {"below": 0.5, "answered": 0.625, "accuracy": 0.6, "wrong_and_answered": 0.25}
    )


def test_golden_values_of_the_sure() -> None:
    sure, right = [1, 1, 1, 0, 0], [1, 1, 0, 0, 1]
    assert expected_calibration_error(sure, right) == pytest.approx(0.4)
    assert brier(sure, right) == pytest.approx(0.4)
    assert auroc(sure, list(map(bool, right)), 50, 0)["mean"] == pytest.approx(0.583333, abs=1e-6)


def test_whole_per_cents_fall_into_the_bin_of_their_tens() -> None:
    assert [bin_of(per_cent / 100) for per_cent in range(101)] == [min(n // 10, 9) for n in range(101)]


@pytest.mark.parametrize(("n", "uniform", "at_half"), [(48, 0.143, 0.057), (96, 0.102, 0.041), (500, 0.044, 0.018)])
def test_perfect_confidences_have_an_error_too(n: int, uniform: float, at_half: float) -> None:
    spread = list(np.random.default_rng(1).random(n))
    assert null_calibration_error(spread, 0) == pytest.approx(uniform, abs=0.012)
    assert null_calibration_error([0.5] * n, 0) == pytest.approx(at_half, abs=0.004)
    # what cannot err does not
    assert null_calibration_error([1.0, 0.0] * n, 0) == 0


def test_a_constant_base_rate_is_calibrated_and_tells_nothing() -> None:
    right = [1, 0, 0, 1, 0, 1, 0, 0, 0, 1]
    assert expected_calibration_error([0.4] * 10, right) == pytest.approx(0)
    assert brier([0.4] * 10, right) == pytest.approx(0.4 * 0.6)
    assert auroc([0.4] * 10, list(map(bool, right)), 50, 0)["mean"] == 0.5


def test_bins_hold_all_rows_and_give_the_error_again() -> None:
    sure, right = made_up(300, 3)
    held = bins(sure, right)
    assert sum(one["n"] for one in held) == 300
    again = sum(one["n"] * abs(one["confidence"] - one["right"]) for one in held) / 300
    assert again == pytest.approx(expected_calibration_error(sure, right))
    assert bins([1.0], [1]) == [{"from": 0.9, "n": 1, "confidence": 1.0, "right": 1.0}]


def test_auroc_by_hand_and_where_there_is_none() -> None:
    assert auroc([3, 2, 1], [True, False, False], 50, 0)["mean"] == 1.0
    assert auroc([5, 5, 5], [True, False, False], 50, 0)["mean"] == 0.5
    found = auroc([1, 1, 1, 0, 0], [True, True, False, False, True], 200, 0)
    assert found["low"] < found["mean"] < found["high"]
    same = auroc([5, 5, 5], [True, False, False], 50, 0), auroc([3, 2, 1], [True, True, False], 50, 0, units=[0] * 3)
    for one in (*same, auroc([3, 2, 1], [True, False, False], 50, 0)):
        assert one["low"] is one["high"] is None, one
        assert one["undefined_reason"].startswith("no interval")
    for labels in ([True, True], [False, False], []):
        none = auroc(list(range(len(labels))), labels, 50, 0, one_class="all alike")
        assert (none["mean"], none["undefined_reason"]) == (None, "all alike")


def test_auroc_draws_all_rows_of_a_question_together() -> None:
    sure, right = made_up(60, 5)
    alone = auroc(sure, list(map(bool, right)), 400, 0)
    copied = auroc(sure * 4, list(map(bool, right)) * 4, 400, 0)
    together = auroc(sure * 4, list(map(bool, right)) * 4, 400, 0, units=list(range(60)) * 4)
    assert together["mean"] == pytest.approx(alone["mean"])
    # four copies of a row know no more than one
    assert copied["high"] - copied["low"] < 0.7 * (together["high"] - together["low"])


def test_nobody_wrong_is_no_share() -> None:
    assert overconfident([0.9, 0.8], [1, 1]) is None
    assert abstain([0.1, 0.2], [1, 0], 0.5)["accuracy"] is None


def test_equally_sure_rows_keep_their_order() -> None:
    assert risk_coverage([0.5, 0.5, 0.9], [0, 1, 1]) == pytest.approx([0, 0.5, 1 / 3])


def test_coverage_is_not_rounded_up_by_a_float() -> None:
    risks = risk_coverage([1 - k / 10 for k in range(10)], [1] * 7 + [0] * 3)
    assert [accuracy_at_coverage(risks, k / 10) for k in (1, 3, 6, 7)] == [1.0] * 4


def test_isotonic_golden() -> None:
    consistency, right = [1, 1, 1, 0.9, 0.7, 0.7, 0.5, 0.5, 0.4, 0.2], [1, 1, 0, 1, 1, 0, 1, 0, 0, 0]
    assert isotonic(consistency, right) == [0.75] * 4 + [0.5] * 4 + [0.0] * 2


@pytest.mark.parametrize(("n", "levels"), [(1, 11), (7, 11), (33, 4), (1000, 11), (400, 101)])
def test_measures_are_those_of_scikit_learn(n: int, levels: int) -> None:
    metrics, calibration = pytest.importorskip("sklearn.metrics"), pytest.importorskip("sklearn.isotonic")
    sure, right = made_up(n, n, levels)
    assert brier(sure, right) == pytest.approx(np.mean((np.array(sure) - right) ** 2))
    if len(set(right)) == 2:
        assert brier(sure, right) == pytest.approx(metrics.brier_score_loss(right, sure))
        mine = auroc(sure, list(map(bool, right)), 20, 0)["mean"]
        assert mine == pytest.approx(metrics.roc_auc_score(right, sure))
    fitted = calibration.IsotonicRegression().fit(sure, right).predict(sure)
    assert isotonic(sure, right) == pytest.approx(list(fitted))


@pytest.mark.parametrize("seed", range(5))
def test_bins_are_those_of_scikit_learn(seed: int) -> None:
    calibration = pytest.importorskip("sklearn.calibration")
    # its bins are closed on the right: confidences off the edges lie in the same
    sure = [min(one + 0.005, 0.995) for one in made_up(200, seed)[0]]
    right = made_up(200, seed)[1]
    shares, means = calibration.calibration_curve(right, sure, n_bins=10)
    assert [one["right"] for one in bins(sure, right)] == pytest.approx(list(shares))
    assert [one["confidence"] for one in bins(sure, right)] == pytest.approx(list(means))
