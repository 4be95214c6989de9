"""A tiny student made in code: real architecture, random weights, a byte-level vocabulary trained on a few lines."""

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from byte_tokenizer import byte_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from mbt_lite.model.student import Student


@pytest.fixture(scope="session")
def tokenizer():
    """A ChatML tokenizer over bytes with 320 tokens."""
    return byte_tokenizer(["we think about the answer", "<think></think><answer></answer>"], 320)


@pytest.fixture
def student(tokenizer):
    """A two-layer Llama with grouped-query attention, float32."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.3,
    )
    return Student(LlamaForCausalLM(config).eval(), tokenizer, "transformers", torch.float32)
