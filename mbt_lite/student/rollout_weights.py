"""A second view of a student for fast rollouts: what training does at each product is done here once a rollout.

Decoding reads every weight once a token, for few rows. Three things then cost more than the products themselves:
1. peft casts and scales the adapter around each layer. The view reads the live adapter once, at `refresh`, and keeps it
   in the compute precision; it is never stale.
2. On a CPU bitsandbytes unpacks nf4 weights at each product. The view keeps them unpacked, in the compute precision:
   the numbers of the 4-bit model, whose own forward pass unpacks them so. On a card they stay in 4 bits.
3. On a CPU oneDNN lays bfloat16 weights out anew at each product. The view keeps them laid out (equal products to the
   bit, a third less time at 36 rows), the output head too, and layers that read the same input (q, k and v; gate and
   up) are one product. In float32 there is little to win, and weights stay as they are.

On a CPU it costs 2 bytes (bfloat16) or 4 (float32) a parameter of the linear layers, and 2 a number of the output head.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Layers of one parent that read the same input.
_SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
# For about so many rows oneDNN chooses its layout; it serves others too.
_ROWS = 64


class Product:
    """y = m ∘ (x Wᵀ + s (x Aᵀ) Bᵀ) + b for layers of one input, one below the other; A and B from the live adapters.

    m is 1, or DoRA's magnitude over the row lengths of W + s B A. Where `unpacks` is false there is one layer, and what
    is frozen of it computes its own part.
    """

    def __init__(self, layers: Sequence[Any], dtype: torch.dtype, *, unpacks: bool) -> None:
        self._layers, self._dtype = layers, dtype
        self._frozen = [_frozen(layer) for layer in layers]
        assert unpacks or len(layers) == 1, layers
        self._weight = torch.cat([_unpacked(one, dtype) for one in self._frozen]) if unpacks else None
        self._bias: Tensor | None = _joined_bias(self._frozen, dtype) if unpacks else self._frozen[0].bias
        self._is_packed = unpacks and _can_pack(dtype) and not any(map(_has_magnitude, layers))
        if self._is_packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, _ROWS)
        self._low_rank: tuple[Tensor, Tensor] | None = None
        self._row_scale: Tensor | None = None
        self._last: tuple[Tensor, Tensor] | None = None

    @property
    def sizes(self) -> list[int]:
        """How many numbers of y are each layer's."""
        return [int(one.out_features) for one in self._frozen]

    def refresh(self) -> None:
        """Read the adapters' present weights."""
        read = [_adapter(layer) for layer in self._layers]
        self._low_rank = self._row_scale = None
        if not any(adapter is not None for adapter in read):
            return
        empty = self._layers[0].weight.new_empty
        pairs = [
            pair or (empty(0, one.in_features, dtype=torch.float32), empty(one.out_features, 0, dtype=torch.float32))
            for pair, one in zip(read, self._frozen, strict=True)
        ]
        if any(map(_has_magnitude, self._layers)):
            self._row_scale = torch.cat([self._scale_of(place, *pair) for place, pair in enumerate(pairs)])
        down = torch.cat([down for down, _ in pairs])
        up: Tensor = torch.block_diag(*[up for _, up in pairs])  # type: ignore[no-untyped-call]
        self._low_rank = (down.to(self._dtype), up.to(self._dtype))

    def part(self, x: Tensor, start: int, end: int) -> Tensor:
        """Give some numbers of y; its other layers are asked for the same x, so y is kept until the last was."""
        y = self._last[1] if self._last is not None and self._last[0] is x else self._compute(x)
        self._last = (x, y) if end < y.shape[-1] else None
        return y if end - start == y.shape[-1] else y[..., start:end]

    def _compute(self, x: Tensor) -> Tensor:
        y: Tensor
        update = None
        if self._low_rank is not None:
            down, up = self._low_rank
            update = functional.linear(functional.linear(x, down), up)
        if self._row_scale is not None:
            assert update is not None
            y = (self._multiply(x, None) + update) * self._row_scale
            return y if self._bias is None else y + self._bias
        if update is None:
            return self._multiply(x, self._bias)
        if self._is_packed:
            y = torch.ops.mkldnn._linear_pointwise.binary(x, update, self._weight, self._bias, "add")
            return y
        return self._multiply(x, self._bias) + update

    def _multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        y: Tensor
        if self._is_packed:
            y = torch.ops.mkldnn._linear_pointwise(x, self._weight, bias, "none", [], "")
            return y
        if self._weight is not None:
            return functional.linear(x, self._weight, bias)
        y = self._frozen[0](x)
        return y if bias is not None or self._bias is None else y - self._bias

    def _scale_of(self, place: int, down: Tensor, up: Tensor) -> Tensor:
        layer, frozen = self._layers[place], self._frozen[place]
        weight = _unpacked(frozen, self._dtype)
        if not _has_magnitude(layer):
            return torch.ones(len(weight), dtype=weight.dtype, device=weight.device)
        lengths = torch.linalg.norm(weight + up @ down, dim=1)
        magnitude: Tensor = layer.lora_magnitude_vector[layer.active_adapters[0]].weight.detach()
        scale: Tensor = (magnitude / lengths).to(self._dtype)
        return scale


class Part(nn.Module):
    """One layer of a product, in the place of the layer itself."""

    def __init__(self, product: Product, start: int, end: int) -> None:
        super().__init__()
        self.product, self.start, self.end = product, start, end

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer. Shapes: [..., in] -> [..., out]."""
        return self.product.part(x, self.start, self.end)


def build_view(model: Any, dtype: torch.dtype) -> nn.Module:
    """Build the view of a (peft-wrapped or plain) model; small modules are shared, big linears become products."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    linears = _linears(base)
    memo: dict[int, object] = {id(module): module for module in linears.values()}
    memo |= {id(parameter): parameter for parameter in base.parameters()}
    view: nn.Module = copy.deepcopy(base, memo)
    # TRL replaces a model's forward on the instance; the copied one would still run the trained model
    view.__dict__.pop("forward", None)
    on_cpu = next(base.parameters()).device.type == "cpu"
    for names in _groups(linears) if on_cpu else [[name] for name in linears]:
        _replace(view, names, Product([linears[name] for name in names], dtype, unpacks=on_cpu))
    head = base.get_output_embeddings()
    if on_cpu and _can_pack(dtype) and type(head) is nn.Linear and head.weight.dtype == dtype:
        [name] = [name for name, module in base.named_modules() if module is head]
        _replace(view, [name], Product([head], dtype, unpacks=True))
    return view.eval()


def refresh(view: nn.Module) -> None:
    """Read the adapter's present weights everywhere."""
    for module in view.modules():
        if isinstance(module, Part) and module.start == 0:
            module.product.refresh()


def _replace(view: nn.Module, names: Sequence[str], product: Product) -> None:
    start = 0
    for name, size in zip(names, product.sizes, strict=True):
        parent, _, child = name.rpartition(".")
        setattr(view.get_submodule(parent), child, Part(product, start, start + size))
        start += size


def _groups(linears: dict[str, nn.Module]) -> list[list[str]]:
    """Put the names of layers together that read the same input."""
    groups: dict[tuple[str, object], list[str]] = {}
    for name in linears:
        parent, _, child = name.rpartition(".")
        groups.setdefault((parent, next((kin for kin in _SIBLINGS if child in kin), child)), []).append(name)
    return list(groups.values())


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


def _frozen(layer: Any) -> Any:
    return layer.base_layer if hasattr(layer, "lora_A") else layer


def _adapter(layer: Any) -> tuple[Tensor, Tensor] | None:
    """Give A [r, in] and s B [out, r] of a layer; None where it has no adapter, or has it off."""
    if not hasattr(layer, "lora_A") or layer.disable_adapters:
        return None
    name = layer.active_adapters[0]
    return layer.lora_A[name].weight.detach(), layer.lora_B[name].weight.detach() * layer.scaling[name]


def _has_magnitude(layer: Any) -> bool:
    return hasattr(layer, "lora_A") and layer.active_adapters[0] in layer.lora_magnitude_vector


def _joined_bias(frozen: Sequence[Any], dtype: torch.dtype) -> Tensor | None:
    if all(one.bias is None for one in frozen):
        return None
    biases = [torch.zeros(one.out_features) if one.bias is None else one.bias.detach() for one in frozen]
    return torch.cat([bias.to(dtype) for bias in biases])


def _unpacked(layer: Any, dtype: torch.dtype) -> Tensor:
    """Give the frozen weights of a layer in a precision. Shape: [out, in]"""
    if not _is_quantized(layer):
        return layer.weight.detach().to(dtype)  # type: ignore[no-any-return]
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(dtype)


def _can_pack(dtype: torch.dtype) -> bool:
    """Tell whether this processor's oneDNN multiplies by weights that are laid out before."""
    is_there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return dtype == torch.bfloat16 and is_there and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
