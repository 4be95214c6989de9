"""What the tests of export are made of: a tiny base in several shards, an adapter that does something, traces."""

from pathlib import Path

import pytest

pytest.importorskip("peft", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from byte_tokenizer import byte_tokenizer
from tiny_student import tiny_config

from mbt_lite.prompts import completion_text
from mbt_lite.recipe import schema
from mbt_lite.records import Trace

TEXTS = ["we think about the answer", "<think></think><answer></answer>"]


def save_base(folder: Path, *, dtype: torch.dtype = torch.float32, tied: bool = True, shard: str = "24KB") -> Path:
    """Save a two-layer Llama with tokenizer and licence; by default its weights take several files."""
    from transformers import LlamaForCausalLM

    tokenizer = byte_tokenizer(TEXTS, 320)
    torch.manual_seed(0)
    config = tiny_config(tokenizer, initializer_range=0.3, tie_word_embeddings=tied)
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A tiny model\n")
    return folder


def save_moved_adapter(base: Path, folder: Path, lora: schema.Lora, quantization: str = "none") -> Path:
    """Save an adapter whose every part is away from where it began."""
    from mbt_lite.model.adapters import load_with_adapter, save_adapter

    model = schema.Model(name=str(base), dtype="float32", quantization=quantization)  # type: ignore[arg-type]
    student = load_with_adapter(model, lora, 0, gradient_checkpointing=False)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in student.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2, generator=generator)
            elif "magnitude" in name:
                weight.mul_(1 + 0.2 * torch.rand(weight.shape, generator=generator))
    save_adapter(student, folder)
    return folder


def make_trace(number: int) -> Trace:
    text, answer = "we think about the answer", "the answer"
    return Trace(
        trace_id=f"q{number}:0", question_id=f"q{number}", kind="mbt_s", rollout_index=None, trace_index=0,
        teacher="scripted", scripted=True, prompt_version="0", text=text, answer=answer,
        prompt=({"role": "user", "content": f"about {number}"},),
        completion=({"role": "assistant", "content": completion_text(text, answer)},),
    )  # fmt: skip
