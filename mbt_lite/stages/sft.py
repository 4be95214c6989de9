"""Stage `sft`: traces to an adapter, by 4-bit QLoRA with TRL, loss on the completion only.

Read traces -> hold some out -> tokenise and check every row -> train from the newest complete checkpoint -> write the
adapter, with held-out traces the one with the lowest dev loss.
Differs from the paper (arXiv 2602.22508), which tunes all weights: 1. LoRA on all linear layers of a 4-bit model, with
about ten times its learning rate (LoRA Without Regret); 2. small batches, which suit LoRA better.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from mbt_lite.errors import RunError
from mbt_lite.launch import read_launch
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Trace, from_row
from mbt_lite.run_dir import RunDir, adapter_files, read_jsonl

if TYPE_CHECKING:
    from mbt_lite.training.rows import Row


def plan(recipe: Recipe, run_dir: RunDir) -> list[str]:
    """Say what a run would do, without loading a model."""
    traces = read_jsonl(run_dir.stage_dir("gen") / "traces.jsonl")
    batch = recipe.sft.micro_batch_size * recipe.sft.gradient_accumulation_steps
    counts = f"{len(traces)} traces, {recipe.sft.epochs:g} epochs, {batch} rows a step"
    held_out = f", {recipe.sft.held_out_traces} held out" if recipe.sft.held_out_traces else ""
    return [f"sft: {counts}, LoRA rank {recipe.lora.rank}{held_out}"]


def run(recipe: Recipe, run_dir: RunDir, console: Console) -> None:
    """Train the adapter `sft/adapter`; done already: say so and return.

    Raises RunError without traces, ModelError for a template that does not fit, a missing tracker, too little memory.
    """
    from mbt_lite.training.out_of_memory import naming_out_of_memory
    from mbt_lite.training.trackers import check_tracker

    traces_file = run_dir.stage_dir("gen") / "traces.jsonl"
    run_dir.check_outputs("gen")
    traces = read_traces(traces_file)
    inputs = run_dir.fingerprint([traces_file, *earlier_adapter(recipe)])
    if run_dir.is_done("sft", inputs):
        console.print(f"sft: done already, adapter in {run_dir.stage_dir('sft') / 'adapter'}", highlight=False)
        return
    check_tracker(recipe.tracking.tracker)
    with run_dir.locked("sft", inputs) as folder, naming_out_of_memory(recipe, "sft", folder):
        summary = train(recipe, traces, folder, console)
        run_dir.mark_done("sft", inputs, summary, adapter_files(folder / "adapter"))
    console.print(f"sft: adapter in {folder / 'adapter'}, final loss {summary['final_loss']:.3f}", highlight=False)


def earlier_adapter(recipe: Recipe) -> list[Path]:
    """Give the weights of the adapter that is continued, if any; RunError if they are not there."""
    if recipe.lora.continue_from is None:
        return []
    weights = Path(recipe.lora.continue_from) / "adapter_model.safetensors"
    if not weights.is_file():
        raise RunError(f"lora.continue_from: no adapter there (got {weights.parent}); name the folder of one")
    return [weights]


def read_traces(path: Path) -> list[Trace]:
    """Read the traces that gen accepted; RunError if there are none."""
    rows = read_jsonl(path)
    if not rows:
        raise RunError(f"{path}: no traces (got 0); run `mbt-lite gen` with the same recipe first")
    return [from_row(Trace, row, f"{path}:{number}") for number, row in enumerate(rows, 1)]


def to_sft_config(recipe: Recipe, folder: Path) -> Any:
    """Map the recipe's `sft` section to TRL's names."""
    import torch
    from trl import SFTConfig

    from mbt_lite.training.processes import share_of_steps

    sft = recipe.sft
    return SFTConfig(
        output_dir=str(folder / "checkpoints"),
        learning_rate=sft.learning_rate,
        num_train_epochs=sft.epochs,
        per_device_train_batch_size=sft.micro_batch_size,
        gradient_accumulation_steps=share_of_steps(sft.gradient_accumulation_steps),
        max_length=None,
        warmup_steps=sft.warmup_fraction,
        lr_scheduler_type=sft.schedule,
        weight_decay=sft.weight_decay,
        max_grad_norm=sft.max_gradient_norm,
        gradient_checkpointing=sft.gradient_checkpointing,
        save_strategy="steps",
        save_steps=sft.save_every_steps,
        save_total_limit=2,
        eval_strategy="steps" if sft.held_out_traces else "no",
        eval_steps=sft.evaluate_every_steps,
        per_device_eval_batch_size=sft.micro_batch_size,
        prediction_loss_only=True,
        logging_steps=1,
        # a loss that is no number is to be seen, not averaged away
        logging_nan_inf_filter=False,
        seed=sft.seed,
        data_seed=sft.seed,
        bf16=False,
        fp16=False,
        use_cpu=not torch.cuda.is_available(),
        completion_only_loss=True,
        # every weight of the adapter is used in every pass
        ddp_find_unused_parameters=False,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def train(recipe: Recipe, traces: list[Trace], folder: Path, console: Console) -> dict[str, Any]:
    """Train and save; give the counts and losses for `done.json`."""
    from mbt_lite.student.adapters import load_with_adapter, save_adapter
    from mbt_lite.student.chat_template import record_template
    from mbt_lite.student.loading import kept_in_float32
    from mbt_lite.training.checkpoints import resume_point, step_of
    from mbt_lite.training.processes import leader_first, wait_for_all
    from mbt_lite.training.trackers import tracking

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
    recipe: Recipe, traces: list[Trace], tokenizer: Any, console: Console
) -> tuple[Sequence[Row], Sequence[Row], int]:
    """Give the rows to train on, the held-out ones, and how many were too long; show the first."""
    from mbt_lite.training.dev_loss import hold_out
    from mbt_lite.training.row_view import show_row
    from mbt_lite.training.rows import Rows, encode_traces

    limit = recipe.sft.max_sequence_tokens
    to_train, held_out = hold_out(traces, recipe.sft.held_out_traces, recipe.sft.seed)
    rows = encode_traces(to_train, tokenizer, limit)
    dev = encode_traces(held_out, tokenizer, limit) if held_out else Rows((), ())
    too_long = len(rows.too_long) + len(dev.too_long)
    if too_long:
        console.print(f"sft: {too_long} traces are too long and left out", highlight=False)
    if held_out:
        console.print(f"sft: {len(dev.rows)} rows are held out for the dev loss", highlight=False)
    show_row(rows.rows[0], tokenizer, console)
    return rows.rows, dev.rows, too_long


def keep_best_adapter(folder: Path) -> dict[str, Any]:
    """Make the adapter with the lowest dev loss the stage's; give its step and loss."""
    from mbt_lite.student.adapters import copy_adapter
    from mbt_lite.training.dev_loss import dev_losses, lowest

    step, loss = lowest(dev_losses(folder / "metrics.jsonl"))
    copy_adapter(folder / "best", folder / "adapter")
    return {"best_step": step, "best_dev_loss": loss}


def build_trainer(
    recipe: Recipe,
    student: Any,
    rows: Sequence[Row],
    dev_rows: Sequence[Row],
    folder: Path,
    console: Console,
    track: Any,
) -> tuple[Any, Any]:
    """Build TRL's trainer on rows that are tokenised already, with its log."""
    from mbt_lite.training.fed_rows import FedRows
    from mbt_lite.training.logit_tiles import narrow_without_triton
    from mbt_lite.training.sft_trainer import choose_trainer
    from mbt_lite.training.training_log import TrainingLog

    narrow_without_triton()
    fed = FedRows(student.model, rows)
    log = TrainingLog(folder / "metrics.jsonl", "sft", "loss", console, lambda step: fed.names(), track)
    trainer = choose_trainer(student)(
        model=student.model,
        args=to_sft_config(recipe, folder),
        train_dataset=to_dataset(rows),
        eval_dataset=to_dataset(dev_rows) if dev_rows else None,
        processing_class=student.tokenizer,
        callbacks=[*life(recipe, student, folder), fed, *([log] if read_launch().leads else [])],
    )
    log.quieten(trainer)
    return trainer, log


def life(recipe: Recipe, student: Any, folder: Path) -> list[Any]:
    """Give the callbacks of the recipe's clock and dev loss; the dev loss's must come before the log."""
    from mbt_lite.student.adapters import save_adapter
    from mbt_lite.training.dev_loss import BestAdapter
    from mbt_lite.training.save_clock import SaveByMinutes

    callbacks: list[Any] = []
    if recipe.sft.save_every_minutes is not None:
        callbacks.append(SaveByMinutes(recipe.sft.save_every_minutes))
    if recipe.sft.held_out_traces:
        metrics, best = folder / "metrics.jsonl", folder / "best"
        callbacks.append(BestAdapter(metrics, lambda: save_adapter(student, best), recipe.sft.patience))
    return callbacks


def to_dataset(rows: Sequence[Row]) -> Any:
    """Give rows the columns that TRL reads."""
    from datasets import Dataset

    columns = {
        "input_ids": [list(row.input_ids) for row in rows],
        "completion_mask": [list(row.completion_mask) for row in rows],
    }
    return Dataset.from_dict(columns)
