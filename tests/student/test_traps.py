"""The silent traps of 4-bit training: with the guard the right numbers, without it the wrong ones."""

import pytest

pytest.importorskip("bitsandbytes", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from bitsandbytes.functional import has_avx512bf16

from mbt_lite.recipe import schema
from mbt_lite.student import loading
from mbt_lite.student.adapters import load_with_adapter

IDS = torch.arange(100, 164).view(1, -1)


def load(folder, variant="lora", dtype="float32"):
    model = schema.Model(name=str(folder), dtype=dtype, backend="transformers")
    student = load_with_adapter(model, schema.Lora(rank=4, alpha=8, variant=variant), 0, gradient_checkpointing=False)
    with torch.no_grad():
        for name, parameter in student.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return student


def gradients(student):
    student.model.train().zero_grad()
    student.model(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
    return torch.cat([p.grad.flatten() for p in student.model.parameters() if p.grad is not None])


def agreement_after_reading(student):
    """Cosine between the gradients before and after a forward pass in eval mode without gradients."""
    before = gradients(student)
    with torch.no_grad():
        student.model.eval()(input_ids=IDS)
    return torch.nn.functional.cosine_similarity(before, gradients(student), dim=0).item()


def test_gradients_stay_right_after_reading(student_folder) -> None:
    assert agreement_after_reading(load(student_folder)) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.skipif(not has_avx512bf16(), reason="bitsandbytes repacks on CPUs with AVX512-BF16 only")
@pytest.mark.filterwarnings("ignore:bitsandbytes:UserWarning")
def test_gradients_are_wrong_after_reading_without_the_guard(student_folder, monkeypatch) -> None:
    """If this fails, bitsandbytes has mended it: take the guard out."""
    monkeypatch.setattr(loading, "close_cpu_repacking", lambda model: 0)
    assert agreement_after_reading(load(student_folder)) < 0.99


def test_close_cpu_repacking_closes_every_4_bit_layer(student_folder) -> None:
    layers = [m for m in load(student_folder).model.modules() if hasattr(m, "support_avx512bf16_for_cpu")]
    assert len(layers) == 2 * 7
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)


def largest_move(weight_dtype, keep) -> float:
    """Take 20 small steps, once with TRL's rounding of the adapter and once with it undone."""
    model = torch.nn.Linear(64, 64)
    with torch.no_grad():
        model.weight.uniform_(0.5, 1.0)
    if keep:
        with loading.kept_in_float32(model):
            model.to(weight_dtype)
    else:
        model.to(weight_dtype)
    before = model.weight.detach().float().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.0)
    for _ in range(20):
        optimizer.zero_grad()
        model(torch.ones(1, 64, dtype=model.weight.dtype)).sum().backward()
        optimizer.step()
    return (model.weight.detach().float() - before).abs().max().item()


def test_adapters_move_at_a_small_learning_rate_only_in_float32() -> None:
    assert largest_move(torch.bfloat16, keep=True) == pytest.approx(20e-6, rel=0.05)
    assert largest_move(torch.bfloat16, keep=False) == 0.0


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_kind_of_adapter_is_float32_and_its_rollouts_are_right(variant, dtype, student_folder) -> None:
    student = load(student_folder, variant, dtype)
    trained = {name: p for name, p in student.model.named_parameters() if p.requires_grad}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    assert any("magnitude" in name for name in trained) == (variant == "dora")
    if variant == "dora":
        with torch.no_grad():
            for name, parameter in trained.items():
                if "magnitude" in name:
                    parameter.mul_(1.5)
    with torch.no_grad(), student.rollout_model() as view:
        expected = student.model.eval()(input_ids=IDS).logits.float()
        found = view(input_ids=IDS).logits.float()
    scale = expected.std()
    assert (found - expected).abs().max() <= (1e-4 if dtype == "float32" else 0.4) * scale
    with torch.no_grad(), student.model.disable_adapter():
        assert (student.model(input_ids=IDS).logits.float() - expected).abs().max() > 0.2 * scale
