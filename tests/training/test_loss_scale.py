"""float16's scaled loss, on a CPU scaler: dead steps pass, infinite gradients skip a step, and neither ends a run."""

from pathlib import Path

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


def test_a_float16_student_trains_packed_rows_under_autocast(student_folder: Path) -> None:
    """The road of a T4, but for its kernels: float16 weights, float32 adapter, scaled loss, finite gradients."""
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    from mbt_lite.recipe.schema import Lora
    from mbt_lite.student.adapters import to_lora_config
    from mbt_lite.student.loading import train_in_float32
    from mbt_lite.training import packed_attention
    from mbt_lite.training.lean_model import make_lean

    loaded = AutoModelForCausalLM.from_pretrained(str(student_folder), dtype=torch.float16)
    model = get_peft_model(loaded, to_lora_config(Lora(rank=4, alpha=8)))
    train_in_float32(model)
    make_lean(model)
    rows = [((5, 6, 7), [[8, 9, 10, 11], [12, 13]]), ((), [[14, 15, 16]])]
    packed = packed_attention.pack(rows, torch.device("cpu"))
    with torch.autocast("cpu", torch.float16):
        logits = model(**packed.forward_arguments()).logits
    loss = torch.nn.functional.cross_entropy(logits[0, :-1].float(), packed.input_ids[0, 1:])
    scaler = LossScaler("cpu", init_scale=1024.0)
    scaler.scale(loss).backward()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    scaler.unscale_(optimizer)
    assert all(weight.dtype == weight.grad.dtype == torch.float32 for weight in trained)
    assert all(bool(weight.grad.isfinite().all()) for weight in trained)
    assert any(bool(weight.grad.abs().sum() > 0) for weight in trained)
    assert scaler.step(optimizer) is None
    with torch.autocast("cpu", torch.float16), torch.no_grad():
        after = model(**packed.forward_arguments()).logits
    assert torch.nn.functional.cross_entropy(after[0, :-1].float(), packed.input_ids[0, 1:]) < loss
