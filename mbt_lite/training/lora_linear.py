"""LoRA on a frozen linear layer as one operation: y = x Wᵀ + b + s (x Aᵀ) Bᵀ.

peft computes it in a dozen steps and keeps their results for the backward pass: a float32 copy of the input for each
layer, the output twice, the update before and after scaling. Here the input (shared by all layers that read it) and
x Aᵀ are kept, and all products run in the precision of x, as QLoRA does and as stock TRL does, which rounds the
adapters themselves. The trained A and B stay float32.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, down: Tensor, up: Tensor, layer: nn.Module, scaling: float) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low = flat @ down.to(x.dtype).T
        y: Tensor = layer(flat)
        y.addmm_(low, (up * scaling).to(x.dtype).T)
        ctx.save_for_backward(flat, low, down, up)
        ctx.layer, ctx.scaling, ctx.shape = layer, scaling, x.shape
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        x, low, down, up = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        grad_low = grad @ (up * ctx.scaling).to(grad.dtype)
        grad_down = (grad_low.T @ x).to(down.dtype)
        grad_up = (grad.T @ low).to(up.dtype) * ctx.scaling
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ frozen_weight(ctx.layer, grad.dtype)
            grad_x.addmm_(grad_low, down.to(grad.dtype))
            grad_x = grad_x.view(ctx.shape)
        return grad_x, grad_down, grad_up, None, None


def frozen_weight(layer: Any, dtype: torch.dtype) -> Tensor:
    """Give the weight of a linear layer, unpacked if it is 4-bit. Shape: [out, in]"""
    state = getattr(layer.weight, "quant_state", None)
    if state is None:
        return layer.weight.to(dtype)  # type: ignore[no-any-return]
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight.data, state).to(dtype)


def join_lora(model: nn.Module) -> int:
    """Compute every plain LoRA layer of a peft model as one operation; give how many.

    Layers with dropout, DoRA or a trained bias are left to peft.
    """
    from peft.tuners.lora import LoraLayer

    layers = [module for module in model.modules() if isinstance(module, LoraLayer) and is_plain(module)]
    for layer in layers:
        layer.forward = functools.partial(_forward, layer)
    return len(layers)


def is_plain(layer: Any) -> bool:
    """Tell whether a LoRA layer is y = x Wᵀ + b + s (x Aᵀ) Bᵀ and nothing else, with each of its adapters."""
    return hasattr(layer.get_base_layer(), "weight") and all(
        isinstance(down, nn.Linear)
        and isinstance(layer.lora_dropout[name], nn.Identity)
        and name not in layer.lora_variant
        and not layer.lora_bias[name]
        for name, down in layer.lora_A.items()
    )


def _forward(layer: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1 or args or kwargs:
        return type(layer).forward(layer, x, *args, **kwargs)  # type: ignore[no-any-return]
    [name] = layer.active_adapters
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    return _LoraLinear.apply(x, down, up, layer.base_layer, layer.scaling[name])  # type: ignore[no-untyped-call, no-any-return]
