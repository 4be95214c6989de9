"""What a layer saves for the backward pass: the formula against what torch's hooks see, for every family."""

import dataclasses
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from peft import get_peft_model
from transformers import AutoModelForCausalLM

from mbt_lite.architecture.families import KNOWN
from mbt_lite.architecture.numbers import Architecture
from mbt_lite.memory.activations import logits_tile_bytes, saved_per_token
from mbt_lite.model.adapters import to_lora_config
from mbt_lite.model.random_weights import to_config
from mbt_lite.model.student import train_in_float32
from mbt_lite.recipe.schema import Lora

ROWS, TOKENS, RANK = 2, 10, 5


def small(name: str, layers: int) -> Architecture:
    known = KNOWN[name]
    sliding = layers - layers // 6 if known.sliding_layers else 0
    return dataclasses.replace(
        known, layers=layers, hidden=4 * known.heads, intermediate=84, head_size=16, vocabulary=128,
        sliding_layers=sliding,
    )  # fmt: skip


def quantized(architecture: Architecture, dtype: torch.dtype) -> Any:
    """Build a model with an adapter whose linear layers are 4-bit, as loading makes it."""
    model = AutoModelForCausalLM.from_config(to_config(architecture)).to(dtype).requires_grad_(False)
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            layer = Linear4bit(module.in_features, module.out_features, bias=module.bias is not None,
                               compute_dtype=dtype, quant_type="nf4")  # fmt: skip
            layer.weight = Params4bit(module.weight.data, requires_grad=False, quant_type="nf4")
            layer.bias = module.bias
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.to("cpu"))
    model.is_loaded_in_4bit = True
    adapted = get_peft_model(model, to_lora_config(Lora(rank=RANK)))
    train_in_float32(adapted)
    return adapted.train()


def saved_bytes(model: Any, *, masked: bool) -> int:
    """Count the bytes that a forward pass saves, each storage once, weights left out."""
    known = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    seen: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        # a norm's own factor, (1 + weight) in Gemma, does not grow with the tokens
        if tensor.untyped_storage().data_ptr() not in known and tensor.dim() > 1:
            seen.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    ids = torch.ones(ROWS, TOKENS, dtype=torch.long)
    mask = torch.ones_like(ids)
    if masked:
        mask[0, -1] = 0
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(input_ids=ids, attention_mask=mask, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in seen.values())


@pytest.mark.parametrize("masked", [False, True], ids=["equal rows", "unequal rows"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("name", ["smollm2-135m", "qwen2.5-0.5b", "qwen3-0.6b"])
def test_saved_per_token_is_what_torch_saves(name: str, dtype: torch.dtype, masked: bool) -> None:
    torch.manual_seed(0)
    few, many = (saved_bytes(quantized(small(name, layers), dtype), masked=masked) for layers in (2, 4))
    formula = saved_per_token(small(name, 2), RANK, dtype.itemsize, row_tokens=TOKENS, is_masked=masked)
    assert (many - few) / (2 * ROWS * TOKENS) == formula


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])
def test_saved_per_token_is_what_torch_saves_of_gemma(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    few, many = (saved_bytes(quantized(small("gemma-3-1b", layers), dtype), masked=True) for layers in (6, 12))
    formula = saved_per_token(small("gemma-3-1b", 6), RANK, dtype.itemsize, row_tokens=TOKENS, is_masked=True)
    assert (many - few) / (6 * ROWS * TOKENS) == formula


def test_logits_tile_by_hand() -> None:
    tiny = dataclasses.replace(KNOWN["qwen3-4b"], hidden=10)
    # CUDA: 100 tokens by 32,768 entries in bfloat16, hidden states in bfloat16 and their gradient in float32
    assert logits_tile_bytes(tiny, 100, 2, on_cpu=False) == 100 * 32768 * 2 + 100 * 10 * 6
    # CPU: 4,096 entries, 29 bytes more of each
    assert logits_tile_bytes(tiny, 100, 2, on_cpu=True) == 100 * 4096 * 31 + 100 * 10 * 6


def test_logits_tile_stops_growing_with_the_tokens() -> None:
    tiny = dataclasses.replace(KNOWN["qwen3-4b"], hidden=0)
    assert logits_tile_bytes(tiny, 8000, 2, on_cpu=False) == logits_tile_bytes(tiny, 4096, 2, on_cpu=False) == 2**28
