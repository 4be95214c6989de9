import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch

from mbt_lite.export.compare import agreement


def test_agreement_by_hand() -> None:
    wanted = torch.tensor([[1.0, 3.0], [2.0, 0.0]])
    found = torch.tensor([[1.0, 3.0], [2.0, 4.0]])
    held = agreement(wanted, found, torch.zeros(2, 2))
    assert (held.largest, held.mean, held.same_token, held.positions) == (4.0, 2.0, 0.5, 2)
    assert held.effect == pytest.approx(14**0.5 / 2)
    assert held.spread == pytest.approx(2**0.5)


@pytest.mark.parametrize(
    ("found", "holds"),
    [([[8.0, 0.01]], True), ([[4.0, 0.0]], False), ([[0.0, 0.0]], False)],
    ids=["rounded", "half of the adapter is missing", "all of it is missing"],
)
def test_agreement_holds_for_rounding_only(found, holds) -> None:
    assert agreement(torch.tensor([[8.0, 0.0]]), torch.tensor(found), torch.zeros(1, 2)).holds is holds
