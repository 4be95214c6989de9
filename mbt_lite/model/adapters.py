"""LoRA adapters: a new one on all linear layers, a check that rollouts use it, saving one that plain peft loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mbt_lite.errors import ModelError
from mbt_lite.model.chat import prompt_ids
from mbt_lite.model.student import Student, train_in_float32
from mbt_lite.recipe import schema
from mbt_lite.records import Message


def to_lora_config(lora: schema.Lora) -> Any:
    """Map the recipe's `lora` section to peft's names."""
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )


def add_adapter(student: Student, lora: schema.Lora, seed: int, *, gradient_checkpointing: bool) -> None:
    """Wrap the student's model with a fresh adapter whose weights are float32."""
    import torch

    torch.manual_seed(seed)
    if student.backend == "unsloth":
        from unsloth import FastLanguageModel

        student.model = FastLanguageModel.get_peft_model(
            student.model,
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
            use_gradient_checkpointing="unsloth" if gradient_checkpointing else False,
            random_state=seed,
        )
    else:
        from peft import get_peft_model

        student.model = get_peft_model(student.model, to_lora_config(lora))
    train_in_float32(student.model)


def check_rollouts_use_adapter(student: Student, messages: Sequence[Message]) -> None:
    """Compare the next-token logits of rollouts with the adapter on and off.

    Raises ModelError if they are equal: rollouts of the untrained model would teach the adapter nothing.
    """
    import torch

    ids = torch.tensor([prompt_ids(student.tokenizer, messages)], device=student.device)

    def logits() -> Any:
        with torch.inference_mode(), student.rollout_model() as model:
            return model(input_ids=ids, use_cache=False, logits_to_keep=1).logits

    used = logits()
    with student.model.disable_adapter():
        unused = logits()
    if torch.equal(used, unused):
        raise ModelError(
            f"rollouts of {student.backend}: the adapter changes nothing (equal logits with it and without); "
            "train sft longer, or set model.backend to transformers"
        )


def save_adapter(student: Student, folder: Path) -> None:
    """Write adapter and tokenizer beside their place, then rename: the folder is whole or absent."""
    import shutil

    beside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    # a reference adapter is the trainer's
    student.model.save_pretrained(beside, selected_adapters=student.model.active_adapters)
    student.tokenizer.save_pretrained(beside)
    if folder.exists():
        shutil.rmtree(folder)
    beside.rename(folder)
