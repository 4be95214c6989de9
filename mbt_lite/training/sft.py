"""Supervised fine-tuning on traces: rows, TRL's trainer on them, the adapter that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from mbt_lite.console import Screen
from mbt_lite.files import read_jsonl
from mbt_lite.launch import read_launch
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Trace
from mbt_lite.student.adapters import copy_adapter, load_with_adapter, save_adapter
from mbt_lite.student.backend import Backend
from mbt_lite.student.chat_template import record_template
from mbt_lite.student.loading import Student, kept_in_float32
from mbt_lite.training.checkpoints import resume_point, step_of
from mbt_lite.training.dev_loss import BestAdapter, dev_losses, hold_out, lowest
from mbt_lite.training.fed_rows import FedRows
from mbt_lite.training.logit_tiles import narrow_without_triton
from mbt_lite.training.processes import leader_first, share_evenly, wait_for_all
from mbt_lite.training.row_view import show_row
from mbt_lite.training.rows import Row, Rows, encode_traces
from mbt_lite.training.save_clock import FollowLeader, KeepNewest, SaveByMinutes
from mbt_lite.training.sft_trainer import choose_trainer
from mbt_lite.training.trackers import Track, tracking
from mbt_lite.training.trainer_settings import common_settings, on_one_card
from mbt_lite.training.training_log import TrainingLog


def to_sft_config(
    recipe: Recipe, folder: Path, precision: torch.dtype = torch.float32, backend: Backend = "transformers"
) -> SFTConfig:
    """Map the recipe's `sft` section to TRL's names; `precision` and `backend` are the student's."""
    sft = recipe.sft
    config = SFTConfig(
        **common_settings(precision, backend),
        output_dir=str(folder / "checkpoints"),
        learning_rate=sft.learning_rate,
        num_train_epochs=sft.epochs,
        per_device_train_batch_size=sft.micro_batch_size,
        gradient_accumulation_steps=share_evenly("sft.gradient_accumulation_steps", sft.gradient_accumulation_steps),
        max_length=None,
        warmup_steps=sft.warmup_fraction,
        lr_scheduler_type=sft.schedule,
        max_grad_norm=sft.max_gradient_norm,
        gradient_checkpointing=sft.gradient_checkpointing,
        save_steps=sft.save_every_steps,
        eval_strategy="steps" if sft.held_out_traces else "no",
        eval_steps=sft.evaluate_every_steps,
        per_device_eval_batch_size=sft.micro_batch_size,
        prediction_loss_only=True,
        seed=sft.seed,
        data_seed=sft.seed,
        completion_only_loss=True,
        # every weight of the adapter is used in every pass
        ddp_find_unused_parameters=False,
    )
    on_one_card(config)
    return config


def train(recipe: Recipe, traces: list[Trace], folder: Path, console: Screen) -> dict[str, Any]:
    """Train and save; give the counts and losses for `done.json`."""
    with leader_first():
        checkpoint = resume_point(folder, "sft", console)
    with tracking(recipe, folder, step_of(checkpoint) if checkpoint else 0) as track:
        checkpointing = recipe.sft.gradient_checkpointing
        student = load_with_adapter(recipe.model, recipe.lora, recipe.sft.seed, gradient_checkpointing=checkpointing)
        with leader_first():
            template = record_template(folder, student.tokenizer)
        rows, dev_rows, too_long = make_rows(recipe, traces, student.tokenizer, console)
        with kept_in_float32(student.model):
            trainer, log = build_trainer(recipe, student, rows, dev_rows, folder, console, track)
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        finally:
            log.close()
    best: dict[str, Any] = {}
    if read_launch().leads:
        if dev_rows:
            best = keep_best_adapter(folder)
        else:
            save_adapter(student, folder / "adapter")
    wait_for_all()
    losses = [row["loss"] for row in read_jsonl(folder / "metrics.jsonl") if "loss" in row]
    return {
        "traces": len(traces),
        "trained_rows": len(rows),
        "dev_rows": len(dev_rows),
        "too_long": too_long,
        "steps": trainer.state.global_step,
        "final_loss": losses[-1],
        "chat_template": template,
        **best,
    }


def make_rows(
    recipe: Recipe, traces: list[Trace], tokenizer: Any, console: Screen
) -> tuple[Sequence[Row], Sequence[Row], int]:
    """Give the rows to train on, the held-out ones, and how many were too long; show the first."""
    limit = recipe.sft.max_sequence_tokens
    to_train, held_out = hold_out(traces, recipe.sft.held_out_traces, recipe.sft.seed)
    rows = encode_traces(to_train, tokenizer, limit)
    dev = encode_traces(held_out, tokenizer, limit) if held_out else Rows((), ())
    too_long = len(rows.too_long) + len(dev.too_long)
    if too_long:
        console.print(f"sft: {too_long} traces are too long and left out")
    if held_out:
        console.print(f"sft: {len(dev.rows)} rows are held out for the dev loss")
    show_row(rows.rows[0], tokenizer, console)
    return rows.rows, dev.rows, too_long


def keep_best_adapter(folder: Path) -> dict[str, Any]:
    """Make the adapter with the lowest dev loss the stage's; give its step and loss."""
    step, loss = lowest(dev_losses(folder / "metrics.jsonl"))
    copy_adapter(folder / "best", folder / "adapter")
    return {"best_step": step, "best_dev_loss": loss}


def build_trainer(
    recipe: Recipe,
    student: Student,
    rows: Sequence[Row],
    dev_rows: Sequence[Row],
    folder: Path,
    console: Screen,
    track: Track,
) -> tuple[SFTTrainer, TrainingLog]:
    """Build TRL's trainer on rows that are tokenised already, with its log."""
    narrow_without_triton()
    fed = FedRows(student.model, rows)
    log = TrainingLog(folder / "metrics.jsonl", "sft", "loss", console, lambda step: fed.names(), track)
    trainer = choose_trainer(student)(
        model=student.model,
        args=to_sft_config(recipe, folder, student.compute_dtype, student.backend),
        train_dataset=to_dataset(rows),
        eval_dataset=to_dataset(dev_rows) if dev_rows else None,
        processing_class=student.tokenizer,
        callbacks=[*life(recipe, student, folder), fed, *([log] if read_launch().leads else []), FollowLeader()],
    )
    log.quieten(trainer)
    return trainer, log


def life(recipe: Recipe, student: Student, folder: Path) -> list[TrainerCallback]:
    """Give the callbacks of the recipe's clock and dev loss; the dev loss's must come before the log."""
    callbacks: list[TrainerCallback] = [KeepNewest()]
    if recipe.sft.save_every_minutes is not None:
        callbacks.append(SaveByMinutes(recipe.sft.save_every_minutes))
    if recipe.sft.held_out_traces:
        metrics, best = folder / "metrics.jsonl", folder / "best"
        callbacks.append(BestAdapter(metrics, lambda: save_adapter(student, best), recipe.sft.patience))
    return callbacks


def to_dataset(rows: Sequence[Row]) -> Dataset:
    """Give rows the columns that TRL reads."""
    columns = {
        "input_ids": [list(row.input_ids) for row in rows],
        "completion_mask": [list(row.completion_mask) for row in rows],
    }
    return Dataset.from_dict(columns)
