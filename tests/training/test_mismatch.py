"""What is said of an engine whose probabilities are not training's: by hand, and the ends of both scales."""

import math

import pytest

torch = pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

from mbt_lite.training.mismatch import mismatch, pad_right

LOGS = torch.tensor([[-1.0, -2.0], [-0.5, 9.0]])
MASK = torch.tensor([[True, True], [True, False]])


def test_mismatch_of_equal_probabilities_is_nothing() -> None:
    assert mismatch(LOGS, LOGS, MASK) == {"mismatch/kl": 0.0, "mismatch/effective_share": 1.0}


def test_mismatch_by_hand_and_padding_does_not_count() -> None:
    drawn = torch.tensor([[-1.0, -2.0 - math.log(2)], [-0.5, 0.0]])
    found = mismatch(LOGS, drawn, MASK)
    # one of three tokens is twice as likely to training: e^d - 1 - d with d = ln 2
    assert found["mismatch/kl"] == pytest.approx((2 - 1 - math.log(2)) / 3, abs=1e-6)
    # ratios 2 and 1
    assert found["mismatch/effective_share"] == pytest.approx(9 / (2 * 5), abs=1e-6)


def test_mismatch_of_one_completion_that_outweighs_all() -> None:
    trained = torch.zeros(4, 500)
    drawn = trained.clone()
    drawn[0] = -5.0
    found = mismatch(trained, drawn, torch.ones(4, 500, dtype=torch.bool))
    assert found["mismatch/effective_share"] == pytest.approx(0.25)
    assert math.isfinite(found["mismatch/kl"])


def test_pad_right_fills_with_zeros() -> None:
    assert pad_right([[1.0], [2.0, 3.0]], torch.empty(2, 3)).tolist() == [[1.0, 0.0, 0.0], [2.0, 3.0, 0.0]]
