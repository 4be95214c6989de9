"""The backend `unsloth`: every name of that library that we use stands in this file.

Three verbs, the same three that `student.py` and `adapters.py` have for transformers + peft: load a model, add an
adapter, lend the model for generation. unsloth patches transformers, peft and trl when it is imported, so it is
imported first, and only when it is the backend (`student.import_backend`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mbt_lite.recipe import schema

# All linear layers of a block; unsloth takes a list where peft takes "all-linear".
LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def load(
    source: str, adapter: Path | None, dtype: torch.dtype, *, in_4bit: bool, gradient_checkpointing: bool
) -> tuple[Any, Any]:
    """Give model and tokenizer of a hub id or folder, wrapped with the adapter of a folder if one is given.

    Told otherwise, unsloth would take another, pre-quantized repository for many names, and cut rows at 2,048 tokens:
    it gets the exact name and the model's own longest sequence.
    """
    from transformers import AutoConfig
    from unsloth import FastLanguageModel

    loaded: tuple[Any, Any] = FastLanguageModel.from_pretrained(
        str(adapter) if adapter is not None else source,
        max_seq_length=AutoConfig.from_pretrained(source).get_text_config().max_position_embeddings,
        dtype=dtype,
        load_in_4bit=in_4bit,
        use_gradient_checkpointing=_checkpointing(gradient_checkpointing),
        use_exact_model_name=True,
    )
    return loaded


def add_adapter(model: Any, lora: schema.Lora, seed: int, *, gradient_checkpointing: bool) -> Any:
    """Wrap the model with a fresh adapter."""
    from unsloth import FastLanguageModel

    return FastLanguageModel.get_peft_model(
        model,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        use_rslora=lora.variant == "rslora",
        use_dora=lora.variant == "dora",
        target_modules=list(LINEAR_LAYERS),
        use_gradient_checkpointing=_checkpointing(gradient_checkpointing),
        random_state=seed,
    )


@contextlib.contextmanager
def generating(model: Any) -> Iterator[None]:
    """Switch unsloth's generation on while the block runs."""
    from unsloth import FastLanguageModel

    FastLanguageModel.for_inference(model)
    try:
        yield
    finally:
        FastLanguageModel.for_training(model)


def _checkpointing(wanted: bool) -> str | bool:
    return "unsloth" if wanted else False
