"""A second view of a QLoRA model for fast rollouts on a CPU: 4-bit weights unpacked once instead of at each product.

Decoding reads every weight once a token. On a CPU bitsandbytes unpacks nf4 weights at each product and peft casts
between precisions around each adapter; both cost more than the product itself. This view holds the unpacked frozen
weights in the compute precision, and reads the live adapter, so it is never stale. The numbers are those of the 4-bit
model: unpacking is what its own forward pass does. Costs 2 bytes (bfloat16) or 4 bytes (float32) a parameter of memory,
and is used on a CPU only, where that is cheap next to the time it saves.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class UnpackedLinear(nn.Module):
    """y = m ∘ (x Wᵀ + s (x Aᵀ) Bᵀ) + b with W in the compute precision and A, B read from the trained adapter.

    m is 1, or DoRA's magnitude over the row lengths of W + s B A.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, adapter: nn.Module | None, name: str | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = bias
        # kept out of the module tree: the parameters belong to the trained model
        self._adapter: tuple[Any, str | None] = (adapter, name)
        self._low_rank: tuple[Tensor, Tensor] | None = None
        self._row_scale: Tensor | None = None

    def refresh(self) -> None:
        """Read the adapter's present weights."""
        adapter, name = self._adapter
        self._low_rank = self._row_scale = None
        if adapter is None or getattr(adapter, "disable_adapters", False):
            return
        down = adapter.lora_A[name].weight.detach()
        up = adapter.lora_B[name].weight.detach() * adapter.scaling[name]
        if name in adapter.lora_magnitude_vector:
            lengths = torch.linalg.norm(self.weight + up @ down, dim=1)
            scale = adapter.lora_magnitude_vector[name].weight.detach() / lengths
            self._row_scale = scale.to(self.weight.dtype)
        self._low_rank = (down.to(self.weight.dtype), up.to(self.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer. Shapes: [..., in] -> [..., out]."""
        if self._low_rank is None:
            return nn.functional.linear(x, self.weight, self.bias)
        down, up = self._low_rank
        update = nn.functional.linear(nn.functional.linear(x, down), up)
        if self._row_scale is None:
            return nn.functional.linear(x, self.weight, self.bias) + update
        y = (nn.functional.linear(x, self.weight) + update) * self._row_scale
        return y if self.bias is None else y + self.bias


def unpack(model: Any, dtype: torch.dtype) -> nn.Module:
    """Build the view of a (peft-wrapped or plain) model; small modules are shared, big linears unpacked."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    memo: dict[int, object] = {id(module): module for module in _linears(base).values()}
    memo |= {id(parameter): parameter for parameter in base.parameters()}
    view: nn.Module = copy.deepcopy(base, memo)
    # TRL replaces a model's forward on the instance; the copied one would still run the trained model
    view.__dict__.pop("forward", None)
    for name, module in _linears(base).items():
        parent, _, child = name.rpartition(".")
        setattr(view.get_submodule(parent), child, _unpack_linear(module, dtype))
    return view.eval()


def refresh(view: nn.Module) -> None:
    """Read the adapter's present weights everywhere."""
    for module in view.modules():
        if isinstance(module, UnpackedLinear):
            module.refresh()


def _linears(base: nn.Module) -> dict[str, nn.Module]:
    """Give the outermost linear layers: adapters count as one with the layer they wrap, the tied head stays."""
    found: dict[str, nn.Module] = {}
    for name, module in base.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if not inside and (hasattr(module, "lora_A") or _is_quantized(module)):
            found[name] = module
    return found


def _is_quantized(module: nn.Module) -> bool:
    return hasattr(getattr(module, "weight", None), "quant_state")


def _unpack_linear(module: Any, dtype: torch.dtype) -> UnpackedLinear:
    from bitsandbytes.functional import dequantize_4bit

    layer = module.base_layer if hasattr(module, "lora_A") else module
    weight = layer.weight
    unpacked = dequantize_4bit(weight.data, weight.quant_state) if _is_quantized(layer) else weight.data
    adapter = module if hasattr(module, "lora_A") else None
    name = adapter.active_adapters[0] if adapter is not None else None
    return UnpackedLinear(unpacked.to(dtype), layer.bias, adapter, name)
