"""Exact sizes against the real thing: transformers' classes on the meta device, bitsandbytes' storage on the CPU."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mbt_lite.architecture.config_file import read_config
from mbt_lite.architecture.families import KNOWN
from mbt_lite.architecture.numbers import Architecture
from mbt_lite.architecture.storage import kv_bytes_per_token, nf4_bytes, nf4_weights
from mbt_lite.recipe.schema import Lora
from mbt_lite.student.adapters import to_lora_config
from mbt_lite.student.random_weights import to_config

# Every family and shape of a linear layer, made small: sizes that 64 and 256 do not divide.
SMALL = {
    name: dataclasses.replace(
        KNOWN[name], layers=6, hidden=5 * KNOWN[name].heads, intermediate=84, head_size=20, vocabulary=64,
        sliding_layers=5 if KNOWN[name].sliding_layers else 0,
    )
    for name in ("smollm2-135m", "smollm2-1.7b", "qwen3-0.6b", "qwen3-8b", "qwen3-14b", "qwen2.5-0.5b", "qwen2.5-7b",
                 "llama-3.2-1b", "llama-3.1-8b", "gemma-3-1b", "gemma-3-4b")
}  # fmt: skip


def on_meta(architecture: Architecture) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(to_config(architecture))


@pytest.mark.parametrize("name", KNOWN)
def test_parameters_are_those_of_the_model_class(name: str) -> None:
    # six layers tell what one layer has; the whole is counted in test_numbers
    architecture = dataclasses.replace(KNOWN[name], layers=6, sliding_layers=5 if KNOWN[name].sliding_layers else 0)
    model = on_meta(architecture)
    assert sum(parameter.numel() for parameter in model.parameters()) == architecture.parameters


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("rank", [1, 7])
def test_lora_parameters_are_those_of_peft(name: str, rank: int) -> None:
    from peft import get_peft_model

    model = get_peft_model(on_meta(SMALL[name]), to_lora_config(Lora(rank=rank)))
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trainable == SMALL[name].lora_parameters(rank)


def quantized_bytes(layer: Any) -> int:
    """Add up everything a quantized weight keeps, each storage once."""
    state = layer.weight.quant_state
    kept = [layer.weight.data, state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code]
    return sum(tensor.numel() * tensor.element_size() for tensor in kept)


@pytest.mark.parametrize("name", SMALL)
def test_nf4_bytes_are_those_of_bitsandbytes(name: str) -> None:
    from bitsandbytes.nn import Linear4bit, Params4bit

    architecture, total = SMALL[name], 0
    for linear in architecture.linears:
        layer = Linear4bit(linear.n_in, linear.n_out, bias=False, compress_statistics=True, quant_type="nf4")
        layer.weight = Params4bit(torch.randn(linear.n_out, linear.n_in), quant_type="nf4", compress_statistics=True)
        layer.to("cpu")
        assert quantized_bytes(layer) == nf4_bytes(linear.weights), linear
        total += quantized_bytes(layer)
    assert nf4_weights(architecture) == architecture.layers * total


@pytest.mark.parametrize("name", SMALL)
def test_kv_bytes_per_token_are_those_of_a_cache(name: str) -> None:
    model = AutoModelForCausalLM.from_config(to_config(SMALL[name])).to(torch.bfloat16).eval()
    with torch.inference_mode():
        cache = model(input_ids=torch.ones(1, 5, dtype=torch.long), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert held == 5 * kv_bytes_per_token(SMALL[name].layers, SMALL[name].kv_size, 2)


@pytest.mark.parametrize("name", KNOWN)
def test_read_config_gives_back_what_transformers_writes(name: str, tmp_path: Path) -> None:
    to_config(KNOWN[name]).save_pretrained(tmp_path)
    assert read_config(tmp_path / "config.json") == KNOWN[name]


SIZES = {"vocab_size": 1003, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 3,
         "num_attention_heads": 4}  # fmt: skip
WINDOWS = {"use_sliding_window": True, "sliding_window": 32, "num_key_value_heads": 2}


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("llama", {}), ("llama", {"num_key_value_heads": 1, "head_dim": 24, "tie_word_embeddings": True}),
        ("qwen2", {}), ("qwen2", {**WINDOWS, "max_window_layers": 1}), ("qwen2", WINDOWS),
        ("qwen2", {**WINDOWS, "max_window_layers": 1, "sliding_window": None}), ("qwen2", {"layer_types": None}),
        ("qwen3", {}), ("qwen3", {"num_key_value_heads": 2}),
        ("gemma3_text", {}), ("gemma3_text", {"num_key_value_heads": 1, "sliding_window_pattern": 2}),
    ],
)  # fmt: skip
def test_read_config_knows_what_a_file_leaves_out(family: str, said: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family, **SIZES, **said}))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    found, kinds = read_config(tmp_path / "config.json"), getattr(model.config, "layer_types", ())
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert found.sliding_layers == list(kinds).count("sliding_attention")
    assert found.sliding_window == (model.config.sliding_window if found.sliding_layers else 0)
