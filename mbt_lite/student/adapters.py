"""LoRA adapters: a fresh or a continued one on all linear layers, a check that rollouts use it, saving it for peft."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from mbt_lite.errors import ModelError
from mbt_lite.files import read_json, whole_folder
from mbt_lite.recipe import schema
from mbt_lite.records import Message
from mbt_lite.screen import say
from mbt_lite.student import unsloth_backend
from mbt_lite.student.chat_template import prompt_ids
from mbt_lite.student.loading import Student, folder_or_id, load_student, train_in_float32

# Of a greedy completion; the first one or two may be certain with any adapter.
_ENGINE_TOKENS = 32


def to_lora_config(lora: schema.Lora) -> Any:
    """Map the recipe's `lora` section to peft's names."""
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        use_rslora=lora.variant == "rslora",
        use_dora=lora.variant == "dora",
        target_modules="all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )


def load_with_adapter(model: schema.Model, lora: schema.Lora, seed: int, *, gradient_checkpointing: bool) -> Student:
    """Load the student with the adapter that sft trains: the one of `lora.continue_from`, else a fresh one.

    Raises ModelError if the earlier adapter is not of the recipe's kind.
    """
    if lora.continue_from is not None:
        adapter = Path(lora.continue_from)
        check_same_kind(adapter, lora)
        _tell_other_base(adapter, model.name)
        student = load_student(model, adapter, trainable=True, gradient_checkpointing=gradient_checkpointing)
        _check_all_linear(student.model, adapter)
        return student
    student = load_student(model, gradient_checkpointing=gradient_checkpointing)
    add_adapter(student, lora, seed, gradient_checkpointing=gradient_checkpointing)
    return student


def check_same_kind(adapter: Path, lora: schema.Lora) -> None:
    """Refuse an adapter folder whose rank, alpha or variant differ from the recipe's: training keeps the adapter's."""
    config = adapter / "adapter_config.json"
    kind = read_json(config).get("peft_type")
    if kind != "LORA":
        raise ModelError(f"{adapter}: not a LoRA adapter (got {kind}); continue one that is, or begin a fresh one")
    found = read_json(config, r=int, lora_alpha=int | float)
    variant = "dora" if found.get("use_dora") else "rslora" if found.get("use_rslora") else "lora"
    for key, value, wanted in (
        ("rank", found["r"], lora.rank),
        ("alpha", found["lora_alpha"], lora.alpha),
        ("variant", variant, lora.variant),
    ):
        if value != wanted:
            raise ModelError(f"{adapter}: the adapter's {key} is another (got {value}); set lora.{key} to {value}")


def _check_all_linear(model: Any, adapter: Path) -> None:
    """Refuse an adapter that leaves linear layers out: it would train less than the recipe says."""
    head = model.get_output_embeddings()
    linear = {
        name.rpartition(".")[2]
        for name, module in model.get_base_model().named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head and ".lora_" not in name
    }
    adapted = {name.rpartition(".")[2] for name, module in model.named_modules() if hasattr(module, "lora_A")}
    # an adapted layer keeps the one it adapts under this name
    left_out = sorted(linear - adapted - {"base_layer"})
    if left_out:
        raise ModelError(
            f"{adapter}: the adapter leaves linear layers out (got {', '.join(sorted(adapted))} without "
            f"{', '.join(left_out)}); continue one on all linear layers, or begin a fresh one"
        )


def _tell_other_base(adapter: Path, name: str) -> None:
    """Say so where an adapter was trained on a base of another name: equal shapes do not make it the same model."""
    base = read_json(adapter / "adapter_config.json").get("base_model_name_or_path")
    if base and Path(base).name != Path(folder_or_id(name)).name:
        say(f"{adapter}: was trained on {base}, and is continued on {name}", error=True)


def add_adapter(student: Student, lora: schema.Lora, seed: int, *, gradient_checkpointing: bool) -> None:
    """Wrap the student's model with a fresh adapter whose weights are float32."""
    torch.manual_seed(seed)
    if student.backend == "unsloth":
        wrapped = unsloth_backend.add_adapter(student.model, lora, seed, gradient_checkpointing=gradient_checkpointing)
    else:
        from peft import get_peft_model

        wrapped = get_peft_model(student.model, to_lora_config(lora))
    student.model = wrapped
    train_in_float32(student.model)


def check_rollouts_use_adapter(student: Student, messages: Sequence[Message]) -> None:
    """Compare the next-token logits of rollouts with the adapter on and off; an engine's tokens with it and zeroed.

    Raises ModelError if they are equal: rollouts of the untrained model would teach the adapter nothing.
    """
    if student.has_engine:
        _check_engine_uses_adapter(student, messages)
        return
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


def _check_engine_uses_adapter(student: Student, messages: Sequence[Message]) -> None:
    """Hand the adapter over twice, the second time zeroed: an engine that keeps an older one fails too."""
    ids = prompt_ids(student.tokenizer, messages)

    def greedy() -> list[tuple[int, float]]:
        settings = {"temperature": 0.0, "max_tokens": _ENGINE_TOKENS, "logprobs": 0}
        written = unsloth_backend.generate_by_engine(student.model, [ids], [settings])[0].outputs[0]
        steps = zip(written.token_ids, written.logprobs, strict=True)
        return [(token, found[token].logprob) for token, found in steps]

    used = greedy()
    with zeroed(student.model):
        unused = greedy()
    if used == unused:
        raise ModelError(
            "rollouts of vLLM: the adapter changes nothing (equal tokens and log-probabilities with it and with "
            "zeros in its place); train sft longer, or set grpo.rollout_engine to local"
        )


@contextlib.contextmanager
def zeroed(model: Any) -> Iterator[None]:
    """Make the adapter one that changes nothing while the block runs."""
    weights = [weight for name, weight in model.named_parameters() if "lora_B" in name]
    kept = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight in weights:
            weight.zero_()
        try:
            yield
        finally:
            for weight, exact in zip(weights, kept, strict=True):
                weight.copy_(exact)


def save_adapter(student: Student, folder: Path) -> None:
    """Write adapter and tokenizer; the folder is whole or absent."""
    with whole_folder(folder) as beside:
        # a reference adapter is the trainer's
        student.model.save_pretrained(beside, selected_adapters=student.model.active_adapters)
        student.tokenizer.save_pretrained(beside)


def copy_adapter(source: Path, target: Path) -> None:
    """Copy an adapter folder; the target is whole or absent."""
    with whole_folder(target) as beside:
        shutil.copytree(source, beside, dirs_exist_ok=True)
