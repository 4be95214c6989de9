"""The backend `unsloth`: every name of that library that we use stands in this file.

Three verbs, the same three that `student.py` and `adapters.py` have for transformers + peft: load a model, add an
adapter, lend the model for generation. unsloth patches transformers, peft and trl when it is imported, so it is
imported first, and only when it is the backend (`backend.import_backend`).

A fourth is unsloth's alone: generate by vLLM on the same 4-bit weights (`Engine`; read from its source, version
2026.10.9, and not run yet on a card). Of what it offers we use the plainest:
1. vLLM keeps its share of the card throughout; its standby, which would give the cache back while training, is off.
2. The adapter stays beside the weights in 16 bits too, where unsloth would add it to them for each rollout.
3. The trainer does not see the engine: it would switch TRL's own use of vLLM on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mbt_lite.errors import ModelError
from mbt_lite.recipe import schema
from mbt_lite.student.libraries import prepare_engine

# All linear layers of a block; unsloth takes a list where peft takes "all-linear".
_LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclasses.dataclass(frozen=True, slots=True)
class Engine:
    """vLLM on the student's weights: its share of the card, tokens of prompt and completion, largest rank."""

    memory_fraction: float
    row_tokens: int
    rank: int


def engine_of(recipe: schema.Recipe) -> Engine | None:
    """Give the engine that the rollouts of grpo ask for; None where the student makes them itself."""
    grpo = recipe.grpo
    if grpo.rollout_engine == "local":
        return None
    row_tokens = recipe.data.max_prompt_tokens + grpo.max_completion_tokens
    return Engine(grpo.vllm_memory_fraction, row_tokens, recipe.lora.rank)


def load(
    source: str,
    adapter: Path | None,
    dtype: torch.dtype,
    *,
    in_4bit: bool,
    gradient_checkpointing: bool,
    engine: Engine | None = None,
) -> tuple[Any, Any]:
    """Give model and tokenizer of a hub id or folder, wrapped with the adapter of a folder if one is given.

    Told otherwise, unsloth would take another, pre-quantized repository for many names, and cut rows at 2,048 tokens:
    it gets the exact name and the model's own longest sequence; an `engine` needs cache for its longest row instead.
    """
    from transformers import AutoConfig
    from unsloth import FastLanguageModel

    longest = AutoConfig.from_pretrained(source, trust_remote_code=False).get_text_config().max_position_embeddings
    shared: dict[str, Any] = {}
    if engine is not None:
        prepare_engine()
        shared = {
            "fast_inference": True,
            "gpu_memory_utilization": engine.memory_fraction,
            "max_lora_rank": engine.rank,
        }
    loaded: tuple[Any, Any] = FastLanguageModel.from_pretrained(
        str(adapter) if adapter is not None else source,
        max_seq_length=longest if engine is None else min(longest, engine.row_tokens),
        dtype=dtype,
        load_in_4bit=in_4bit,
        use_gradient_checkpointing=_checkpointing(gradient_checkpointing),
        use_exact_model_name=True,
        trust_remote_code=False,
        **shared,
    )
    if dtype == torch.float32:
        # its trainers would switch a 16-bit autocast on
        loaded[0]._unsloth_forced_float32 = True
    if engine is not None:
        check_loaded(loaded[0], engine)
    return loaded


def check_loaded(model: Any, engine: Engine) -> None:
    """Refuse what unsloth only prints: a card or model that it does without vLLM, rows that vLLM would cut."""
    if not hasattr(model, "vllm_engine"):
        raise ModelError("grpo.rollout_engine: unsloth has no vLLM for this card or model (got vllm); set it to local")
    fits = model.vllm_engine.llm_engine.vllm_config.model_config.max_model_len
    if fits < engine.row_tokens:
        raise ModelError(
            f"grpo.vllm_memory_fraction: vLLM has room for rows of {fits} tokens, prompt and completion take "
            f"{engine.row_tokens} (got {engine.memory_fraction:g}); raise it, or lower grpo.max_completion_tokens"
        )


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
        target_modules=list(_LINEAR_LAYERS),
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


def generate_by_engine(model: Any, prompts: Sequence[Sequence[int]], settings: Sequence[Mapping[str, Any]]) -> Any:
    """Complete tokenised prompts by vLLM with the adapter as it is now; vLLM's outputs, in the order of the prompts.

    `settings` are vLLM's sampling parameters, for each prompt its own.
    """
    from vllm import SamplingParams

    # the weights go over in memory, under a new id each time, so that vLLM keeps nothing of older ones; the folder is
    # for the adapter's configuration
    with tempfile.TemporaryDirectory() as folder:
        return model.fast_generate(
            [{"prompt_token_ids": list(prompt)} for prompt in prompts],
            [SamplingParams(**each) for each in settings],
            lora_request=model.load_lora(folder, load_tensors=True),
            use_tqdm=False,
        )


@contextlib.contextmanager
def hiding_engine(model: Any) -> Iterator[None]:
    """Take the engine off the model while a trainer is built: at its sight unsloth switches `use_vllm` on."""
    holders = [module for module in model.modules() if "vllm_engine" in vars(module)]
    engines = [vars(module).pop("vllm_engine") for module in holders]
    try:
        yield
    finally:
        for module, engine in zip(holders, engines, strict=True):
            module.vllm_engine = engine


def _checkpointing(wanted: bool) -> str | bool:
    return "unsloth" if wanted else False
