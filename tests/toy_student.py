"""A tiny student made in code: real architecture, random weights, a byte-level vocabulary trained on a few lines."""

import pytest
import torch
from byte_tokenizer import byte_tokenizer
from tiny_student import tiny_config
from transformers import LlamaForCausalLM

from mbt_lite.student.loading import Student


@pytest.fixture(scope="session")
def tokenizer():
    """A ChatML tokenizer over bytes with 320 tokens."""
    return byte_tokenizer(["we think about the answer", "<think></think><answer></answer>"], 320)


@pytest.fixture
def student(tokenizer):
    """A two-layer Llama with grouped-query attention, float32."""
    torch.manual_seed(0)
    config = tiny_config(tokenizer, initializer_range=0.3)
    return Student(LlamaForCausalLM(config).eval(), tokenizer, "transformers", torch.float32)
