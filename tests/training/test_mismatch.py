"""The mismatch between rollouts and training, against torch's own KL and by hand."""

import math
import sys

import pytest

pytest.importorskip("torch")

import torch

from mbt_lite.training.grpo_watch import Watch
from mbt_lite.training.mismatch import COMPARED, compared_rows, healthy_mismatch, mismatch


def figures(sampled: list[list[float]], trained: list[list[float]]) -> dict[str, float]:
    return mismatch(list(map(torch.tensor, sampled)), list(map(torch.tensor, trained)))


def test_one_policy_has_none() -> None:
    same = [[-0.5, -1.5, -2.0], [-0.1]]
    assert figures(same, same) == {
        "mismatch/kl": 0.0, "mismatch/token_ess": 1.0, "mismatch/completion_ess": 1.0, "mismatch/largest": 0.0,
    }  # fmt: skip


def test_figures_by_hand() -> None:
    """Weights of tokens 2, 1, 1/2 and of completions 2, 1/2."""
    log = math.log(2)
    found = figures([[-1.0, -1.0], [-1.0]], [[log - 1.0, -1.0], [-log - 1.0]])
    assert found["mismatch/kl"] == pytest.approx((2 - 1 - log + 0 + 0.5 - 1 + log) / 3)
    assert found["mismatch/token_ess"] == pytest.approx(3.5**2 / 5.25 / 3)
    assert found["mismatch/completion_ess"] == pytest.approx(2.5**2 / 4.25 / 2)
    assert found["mismatch/largest"] == pytest.approx(log)


def test_the_kl_is_that_of_the_distributions_the_tokens_were_drawn_from() -> None:
    torch.manual_seed(0)
    engine, noise = (torch.randn(12).log_softmax(0).double() for _ in range(2))
    policy = (engine * 0.9 + noise * 0.1).log_softmax(0)
    drawn = torch.multinomial(engine.exp(), 200_000, replacement=True)
    wanted = torch.nn.functional.kl_div(policy, engine, log_target=True, reduction="sum")
    assert mismatch([engine[drawn]], [policy[drawn]])["mismatch/kl"] == pytest.approx(float(wanted), rel=0.05)
    assert 1e-3 < wanted < 1e-1


def test_a_completion_whose_weight_is_all_there_is_counts_as_one() -> None:
    """Weights that no float holds."""
    found = figures([[-900.0], [-1.0], [-1.0], [-1.0]], [[0.0], [-1.0], [-1.0], [-1.0]])
    assert found["mismatch/completion_ess"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("rows", "group_size", "compared"), [(96, 6, 18), (96, 8, 16), (128, 32, 32), (8, 4, 8), (6, 6, 6)]
)
def test_whole_groups_are_compared(rows: int, group_size: int, compared: int) -> None:
    assert compared_rows(rows, group_size) == compared
    assert COMPARED == 16


def test_a_large_kl_is_out_of_its_healthy_range() -> None:
    [rule] = healthy_mismatch()
    assert [rule.side(value) for value in (0.0, 0.001, 0.02)] == [None, None, "above"]


@pytest.mark.parametrize("trained", [math.nan, 800.0], ids=["no number", "a weight that no float holds"])
def test_a_policy_that_is_no_number_is_far_away_and_warned_of(trained: float) -> None:
    found = figures([[-1.0, -1.0]], [[-1.0, trained]])
    assert found["mismatch/kl"] == sys.float_info.max
    watch = Watch(healthy_mismatch())
    assert [len(watch.see({"step": step, **found})) for step in (1, 2, 3)] == [0, 0, 1]
