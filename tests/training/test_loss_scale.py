"""float16's scaled loss, on a CPU scaler: dead steps pass, infinite gradients skip a step, and neither ends a run."""

import pytest

torch = pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

from accelerate import Accelerator  # noqa: E402
from accelerate.optimizer import AcceleratedOptimizer  # noqa: E402

from mbt_lite.training.loss_scale import LossScaler  # noqa: E402


def step(optimizer: AcceleratedOptimizer, scaler: LossScaler, weight: torch.Tensor, factor: float | None) -> bool:
    """Train on the loss weight x factor, or on none; tell whether the weight moved."""
    before = weight.detach().clone()
    optimizer.zero_grad()
    if factor is not None:
        scaler.scale((weight * factor).sum()).backward()
    scaler.unscale_(optimizer.optimizer)
    optimizer.step()
    return not torch.equal(before, weight)


def test_a_step_without_a_gradient_leaves_weight_optimizer_and_scale() -> None:
    Accelerator(cpu=True)
    weight = torch.nn.Parameter(torch.ones(3))
    scaler = LossScaler("cpu")
    optimizer = AcceleratedOptimizer(torch.optim.AdamW([weight], lr=0.1), scaler=scaler)
    assert step(optimizer, scaler, weight, 2.0)
    scale, moved = scaler.get_scale(), optimizer.state[weight]["exp_avg"].clone()
    for _ in range(2):
        assert not step(optimizer, scaler, weight, None)
    assert scaler.get_scale() == scale
    assert torch.equal(optimizer.state[weight]["exp_avg"], moved)
    assert step(optimizer, scaler, weight, 2.0)


def test_an_infinite_gradient_skips_the_step_and_halves_the_scale() -> None:
    Accelerator(cpu=True)
    weight = torch.nn.Parameter(torch.ones(3))
    scaler = LossScaler("cpu")
    optimizer = AcceleratedOptimizer(torch.optim.AdamW([weight], lr=0.1), scaler=scaler)
    scale = scaler.get_scale()
    assert not step(optimizer, scaler, weight, 1e38)
    assert optimizer.step_was_skipped
    assert scaler.get_scale() == scale / 2
    assert step(optimizer, scaler, weight, 1.0)


def test_the_stock_scaler_refuses_such_a_step() -> None:
    """Why ours is there; when torch's passes, ours can go."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer, scaler = torch.optim.AdamW([weight]), torch.amp.GradScaler("cpu")
    scaler.scale(torch.ones(()))
    scaler.unscale_(optimizer)
    with pytest.raises(AssertionError, match="No inf checks were recorded"):
        scaler.step(optimizer)
