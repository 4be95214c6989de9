"""LoRA as one operation against peft's own steps, values and gradients, plain and 4-bit."""

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from mbt_lite.training.lora_linear import join_lora


class Layers(nn.Module):
    """A layer with and one without bias, of 64 to 96 to 32 numbers."""

    def __init__(self, quantized):
        super().__init__()
        self.up, self.down = nn.Linear(64, 96), nn.Linear(96, 32, bias=False)
        if quantized:
            self.up, self.down = four_bit(self.up), four_bit(self.down)

    def forward(self, x):
        return self.down(self.up(x).relu())


def four_bit(linear):
    from bitsandbytes.nn import Linear4bit, Params4bit

    layer = Linear4bit(linear.in_features, linear.out_features, linear.bias is not None, quant_type="nf4")
    layer.weight = Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True)
    layer.bias = linear.bias
    return layer.to("cpu")


def make(quantized=False, **lora):
    torch.manual_seed(0)
    lora = {"target_modules": ["up", "down"]} | lora
    config = LoraConfig(r=4, lora_alpha=12, init_lora_weights=False, **lora)
    model = get_peft_model(Layers(quantized), config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def outcome(model, x):
    """Give output and all gradients for a fixed sum of outputs."""
    x = x.clone().requires_grad_()
    y = model(x)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    grads = torch.autograd.grad((y * torch.linspace(-1, 1, 32)).sum(), [x, *parameters], allow_unused=True)
    return [y, *grads]


@pytest.mark.parametrize("shape", [(64,), (7, 64), (2, 5, 64)], ids=["a token", "a row", "a batch"])
@pytest.mark.parametrize("quantized", [False, True], ids=["float32", "nf4"])
def test_join_lora_equals_peft(quantized, shape):
    if quantized:
        pytest.importorskip("bitsandbytes", reason="needs the training stack: pip install 'mbt-lite[train]'")
    model, x = make(quantized), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    expected = outcome(model, x)
    assert join_lora(model) == 2
    for ours, theirs in zip(outcome(model, x), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_join_lora_keeps_less_for_the_backward_pass():
    def kept_bytes(model):
        total = 0

        def note(tensor):
            nonlocal total
            total += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(torch.randn(50, 64))
        return total

    model = make()
    before = kept_bytes(model)
    join_lora(model)
    assert kept_bytes(model) < before


def test_join_lora_obeys_a_disabled_adapter():
    model, x = make(), torch.randn(3, 64)
    join_lora(model)
    with model.disable_adapter():
        torch.testing.assert_close(model(x), model.get_base_model()(x))
        disabled = model(x)
    base = model.unload()
    torch.testing.assert_close(disabled, base(x))


def test_join_lora_follows_the_active_adapter_as_a_reference_model_needs():
    model, x = make(), torch.randn(3, 64)
    model.add_adapter("ref", LoraConfig(r=2, init_lora_weights=False, target_modules=["up", "down"]))
    expected = {}
    for name in ("default", "ref"):
        model.set_adapter(name)
        expected[name] = model(x)
    assert join_lora(model) == 2
    for name, output in expected.items():
        model.set_adapter(name)
        torch.testing.assert_close(model(x), output, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected["default"], expected["ref"])


@pytest.mark.parametrize(
    "lora", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True, "target_modules": ["up"]}], ids=str
)
def test_join_lora_leaves_what_is_not_plain_to_peft(lora):
    assert join_lora(make(**lora)) == 0
