import pytest

pytest.importorskip("trl")

import torch
from trl.trainer.utils import RepeatSampler

from mbt_lite.training.grpo_trainer import StepOrder, live_rows, without_shared_padding

INPUTS = {
    "prompt_ids": torch.tensor([[0, 0, 5], [0, 6, 7], [0, 0, 8]]),
    "prompt_mask": torch.tensor([[0, 0, 1], [0, 1, 1], [0, 0, 1]]),
    "completion_ids": torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0], [4, 4, 4, 0]]),
    "completion_mask": torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]),
    "advantages": torch.tensor([0.5, -0.5, 0.0]),
    "num_items_in_batch": torch.tensor(6),
}


def test_live_rows_drops_rows_without_advantage():
    live = live_rows(INPUTS)
    assert live["advantages"].tolist() == [0.5, -0.5]
    assert live["prompt_ids"].tolist() == [[0, 0, 5], [0, 6, 7]]
    assert live["num_items_in_batch"] == 6, "the divisor of the whole step stays"


def test_without_shared_padding_keeps_every_token():
    cut = without_shared_padding(live_rows(INPUTS))
    assert cut["prompt_ids"].tolist() == [[0, 5], [6, 7]]
    assert cut["completion_ids"].tolist() == [[1, 2], [3, 0]]
    assert cut["completion_mask"].sum() == 3


def test_live_rows_keeps_whole_groups_where_the_backend_shares_by_them():
    groups = {"advantages": torch.tensor([0.0, 0.0, 0.0, 0.5]), "rows": torch.arange(4), "step": torch.tensor(7)}
    assert live_rows(groups, 2)["rows"].tolist() == [2, 3]
    assert live_rows(groups, 4)["rows"].tolist() == [0, 1, 2, 3]
    # a cut group
    assert live_rows(groups, 8)["rows"].tolist() == [3]


def test_step_order_begins_each_epoch_where_trl_would_be() -> None:
    made, how = [0], (range(7), 2, 3, 2, True, 5)
    order, trl_order = StepOrder(*how, steps_made=lambda: made[0]), RepeatSampler(*how)
    for steps in (0, 2, 4):
        made[0] = steps
        expected = list(trl_order)
        assert list(order) == expected
        # one that goes on there, or in the middle of the epoch
        assert list(StepOrder(*how, steps_made=lambda steps=steps: steps + 1)) == expected
