"""A GRPO trainer over a tiny student, whose rollouts and rewards the test writes down."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from mbt_lite.recipe import schema
from mbt_lite.student.adapters import add_adapter
from mbt_lite.student.libraries import prepare
from mbt_lite.training.grpo_trainer import ReducedGRPOTrainer

Rollouts = Sequence[tuple[list[int], list[int], float]]


def adapt(student: Any, seed: int = 1) -> Any:
    """Give a student an adapter that already does something."""
    add_adapter(student, schema.Lora(rank=4, alpha=8), 0, gradient_checkpointing=False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in student.model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return student


def toy_trainer(
    student: Any,
    folder: Path,
    rollouts: Callable[[int], Rollouts],
    *,
    shares_prompts: bool = True,
    group_size: int = 2,
    micro_batch_size: int = 2,
    trainer_class: type = ReducedGRPOTrainer,
    callbacks: Sequence[Any] = (),
    **settings: Any,
) -> Any:
    """Build a trainer; `rollouts` gives the (prompt, completion, reward) rows of a step (counted from 0)."""
    from datasets import Dataset
    from trl import GRPOConfig

    prepare()
    made: dict[str, Any] = {}

    def roll_out(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        made["rows"] = rollouts(trainer.state.global_step)
        assert len(made["rows"]) == len(prompts)
        return {
            "prompt_ids": [prompt for prompt, _, _ in made["rows"]],
            "completion_ids": [completion for _, completion, _ in made["rows"]],
            "logprobs": None,
        }

    def reward(**_: Any) -> list[float]:
        return [reward for _, _, reward in made["rows"]]

    count = len(rollouts(0))
    config = GRPOConfig(
        output_dir=str(folder),
        **{
            "max_steps": 1,
            "learning_rate": 1e-2,
            "lr_scheduler_type": "constant",
            "per_device_train_batch_size": micro_batch_size,
            "gradient_accumulation_steps": count // micro_batch_size,
            "steps_per_generation": count // micro_batch_size,
            "num_generations": group_size,
            "max_completion_length": 8,
            "gradient_checkpointing": False,
            "save_strategy": "no",
            "logging_steps": 1,
            "bf16": False,
            "use_cpu": True,
            "report_to": [],
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
            "remove_unused_columns": False,
            **settings,
        },
    )
    ours = {"shares_prompts": shares_prompts} if issubclass(trainer_class, ReducedGRPOTrainer) else {}
    return trainer_class(
        model=student.model,
        reward_funcs=[reward],
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["we"] * max(8, count)}),
        processing_class=student.tokenizer,
        rollout_func=roll_out,
        callbacks=list(callbacks),
        **ours,
    )


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """Give the gradient of each trained weight, by name."""
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def weights(model: Any) -> dict[str, torch.Tensor]:
    """Give each trained weight, by name."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
