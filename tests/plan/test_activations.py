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
from mbt_lite.plan.activations import Computing, MicroBatch, head_tile_bytes, logits_tile_bytes, saved_by_layer
from mbt_lite.recipe.schema import Lora
from mbt_lite.student.adapters import to_lora_config
from mbt_lite.student.loading import train_in_float32
from mbt_lite.student.random_weights import to_config
from mbt_lite.training import packed_attention
from mbt_lite.training.lean_model import make_lean

ROWS, TOKENS, RANK = 2, 10, 5
PADDED, LEAN = Computing(packs_rows=False, joins_lora=False), Computing(packs_rows=True, joins_lora=True)
PACKED_BY_PEFT = Computing(packs_rows=True, joins_lora=False)
FAMILIES = ["smollm2-135m", "qwen2.5-0.5b", "qwen3-0.6b"]
DTYPES = [torch.bfloat16, torch.float32]


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


def saved_bytes(model: Any, inputs: dict[str, Any]) -> int:
    """Count the bytes that a forward pass saves, each storage once, weights left out."""
    known = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    seen: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        # a norm's own factor, (1 + weight) in Gemma, does not grow with the tokens
        if tensor.untyped_storage().data_ptr() not in known and tensor.dim() > 1:
            seen.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(**inputs)
    return sum(tensor.untyped_storage().nbytes() for tensor in seen.values())


def padded(rows: int) -> dict[str, Any]:
    """Give rows of which the first is a token shorter, if there are several."""
    ids = torch.ones(rows, TOKENS, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[0, -1] = int(rows == 1)
    return {"input_ids": ids, "attention_mask": mask, "use_cache": False}


@pytest.mark.parametrize("rows", [1, 2], ids=["a row", "unequal rows"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_saved_by_layer_of_padded_rows_is_what_torch_saves(name: str, dtype: torch.dtype, rows: int) -> None:
    few, many = (saved_bytes(quantized(small(name, layers), dtype), padded(rows)) for layers in (2, 4))
    batch = MicroBatch(rows, TOKENS, TOKENS)
    assert (many - few) / 2 == saved_by_layer(small(name, 2), RANK, dtype.itemsize, batch, PADDED)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_saved_by_layer_is_what_torch_saves_of_gemma(dtype: torch.dtype) -> None:
    few, many = (saved_bytes(quantized(small("gemma-3-1b", layers), dtype), padded(ROWS)) for layers in (6, 12))
    batch = MicroBatch(ROWS, TOKENS, TOKENS)
    assert (many - few) / 6 == saved_by_layer(small("gemma-3-1b", 6), RANK, dtype.itemsize, batch, PADDED)


def packed(shared_prompts: int) -> tuple[MicroBatch, dict[str, Any]]:
    """Give two rows behind each of so many prompts, or four rows that share nothing."""
    rows, trained = 4, 6
    groups = [([1] * TOKENS, [])] * rows
    if shared_prompts:
        groups = [([1] * (TOKENS - trained - 1), [[1] * trained] * (rows // shared_prompts))] * shared_prompts
    sequence = packed_attention.pack(groups, torch.device("cpu"))
    return MicroBatch(rows, TOKENS, trained, shared_prompts), sequence.forward_arguments()


@pytest.mark.parametrize("shared_prompts", [0, 1, 2], ids=["alone", "one prompt", "two prompts"])
@pytest.mark.parametrize("how", [LEAN, PACKED_BY_PEFT], ids=["lean", "by peft"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_saved_by_layer_of_packed_rows_is_what_torch_saves(
    name: str, dtype: torch.dtype, how: Computing, shared_prompts: int
) -> None:
    batch, inputs = packed(shared_prompts)
    assert batch.computed_tokens == inputs["input_ids"].numel()
    found = []
    for layers in (2, 4):
        model = quantized(small(name, layers), dtype)
        (make_lean if how.joins_lora else packed_attention.enable)(model)
        found.append(saved_bytes(model, inputs))
    assert (found[1] - found[0]) / 2 == saved_by_layer(small(name, 2), RANK, dtype.itemsize, batch, how)


def test_head_tile_by_hand() -> None:
    tiny = dataclasses.replace(KNOWN["smollm2-135m"], hidden=10)
    # logits, probabilities and their product in float32, probabilities in bfloat16; hidden states, slopes in bfloat16
    assert head_tile_bytes(tiny, 100, 2) == 100 * 49152 * (4 + 4 + 4 + 2) + 2 * 100 * 10 * 2
    # a tile holds 341 tokens; in float32 there is no cast
    assert head_tile_bytes(tiny, 1000, 4) == 341 * 49152 * 12 + 2 * 1000 * 10 * 4


def test_logits_tile_by_hand() -> None:
    tiny = dataclasses.replace(KNOWN["qwen3-4b"], hidden=10)
    # CUDA: 100 tokens by 32,768 entries in bfloat16, hidden states in bfloat16 and their gradient in float32
    assert logits_tile_bytes(tiny, 100, 2, on_cpu=False) == 100 * 32768 * 2 + 100 * 10 * 6
    # CPU: 4,096 entries, 29 bytes more of each
    assert logits_tile_bytes(tiny, 100, 2, on_cpu=True) == 100 * 4096 * 31 + 100 * 10 * 6


def test_logits_tile_stops_growing_with_the_tokens() -> None:
    tiny = dataclasses.replace(KNOWN["qwen3-4b"], hidden=0)
    assert logits_tile_bytes(tiny, 8000, 2, on_cpu=False) == logits_tile_bytes(tiny, 4096, 2, on_cpu=False) == 2**28
