"""Stage `sft`: traces to an adapter, by 4-bit QLoRA with TRL, loss on the completion only.

Read traces -> tokenise and check every row -> train from the newest complete checkpoint -> write the adapter.
Differs from the paper (arXiv 2602.22508), which tunes all weights: 1. LoRA on all linear layers of a 4-bit model, with
about ten times its learning rate (LoRA Without Regret); 2. small batches, which suit LoRA better.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from mbt_lite.errors import RunError
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Trace, from_row
from mbt_lite.run_dir import RunDir, read_jsonl


def plan(recipe: Recipe, run_dir: RunDir) -> list[str]:
    """Say what a run would do, without loading a model."""
    traces = read_jsonl(run_dir.stage_dir("gen") / "traces.jsonl")
    batch = recipe.sft.micro_batch_size * recipe.sft.gradient_accumulation_steps
    counts = f"{len(traces)} traces, {recipe.sft.epochs:g} epochs, {batch} rows a step"
    return [f"sft: {counts}, LoRA rank {recipe.lora.rank}"]


def run(recipe: Recipe, run_dir: RunDir, console: Console) -> None:
    """Train the adapter `sft/adapter`; done already: say so and return.

    Raises RunError without traces, ModelError for a template that does not fit.
    """
    traces_file = run_dir.stage_dir("gen") / "traces.jsonl"
    traces = read_traces(traces_file)
    inputs = run_dir.fingerprint([traces_file])
    if run_dir.is_done("sft", inputs):
        console.print(f"sft: done already, adapter in {run_dir.stage_dir('sft') / 'adapter'}", highlight=False)
        return
    with run_dir.locked("sft") as folder:
        summary = train(recipe, traces, folder, console)
        run_dir.mark_done("sft", inputs, summary)
    console.print(f"sft: adapter in {folder / 'adapter'}, final loss {summary['final_loss']:.3f}", highlight=False)


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

    sft = recipe.sft
    return SFTConfig(
        output_dir=str(folder / "checkpoints"),
        learning_rate=sft.learning_rate,
        num_train_epochs=sft.epochs,
        per_device_train_batch_size=sft.micro_batch_size,
        gradient_accumulation_steps=sft.gradient_accumulation_steps,
        max_length=None,
        warmup_steps=sft.warmup_fraction,
        lr_scheduler_type=sft.schedule,
        weight_decay=sft.weight_decay,
        max_grad_norm=sft.max_gradient_norm,
        gradient_checkpointing=sft.gradient_checkpointing,
        save_strategy="steps",
        save_steps=sft.save_every_steps,
        save_total_limit=2,
        logging_steps=1,
        seed=sft.seed,
        data_seed=sft.seed,
        bf16=False,
        fp16=False,
        use_cpu=not torch.cuda.is_available(),
        completion_only_loss=True,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def train(recipe: Recipe, traces: list[Trace], folder: Path, console: Console) -> dict[str, Any]:
    """Train and save; give the counts and the last loss for `done.json`."""
    from mbt_lite.model.adapters import add_adapter, save_adapter
    from mbt_lite.model.checkpoints import newest_complete
    from mbt_lite.model.rows import encode_traces
    from mbt_lite.model.student import kept_in_float32, load_student

    checkpoint, set_aside = newest_complete(folder / "checkpoints")
    for partial in set_aside:
        console.print(f"sft: a kill left a partial checkpoint; set aside as {partial}", highlight=False)
    if checkpoint is not None:
        console.print(f"sft: going on from {checkpoint}", highlight=False)
    student = load_student(recipe.model, gradient_checkpointing=recipe.sft.gradient_checkpointing)
    add_adapter(student, recipe.lora, recipe.sft.seed, gradient_checkpointing=recipe.sft.gradient_checkpointing)
    rows = encode_traces(traces, student.tokenizer, recipe.sft.max_sequence_tokens)
    if rows.too_long:
        console.print(f"sft: {len(rows.too_long)} traces are too long and left out", highlight=False)
    with kept_in_float32(student.model):
        trainer, log = build_trainer(recipe, student, rows.rows, folder, console)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        log.close()
    save_adapter(student, folder / "adapter")
    losses = [row["loss"] for row in read_jsonl(folder / "metrics.jsonl") if "loss" in row]
    return {
        "traces": len(traces),
        "trained_rows": len(rows.rows),
        "too_long": len(rows.too_long),
        "steps": trainer.state.global_step,
        "final_loss": losses[-1],
    }


def build_trainer(recipe: Recipe, student: Any, rows: Any, folder: Path, console: Console) -> tuple[Any, Any]:
    """Build TRL's trainer on rows that are tokenised already, with its log."""
    from datasets import Dataset
    from trl import SFTTrainer

    from mbt_lite.model.logit_tiles import narrow_without_triton
    from mbt_lite.model.training_log import TrainingLog

    narrow_without_triton()
    columns = {
        "input_ids": [list(row.input_ids) for row in rows],
        "completion_mask": [list(row.completion_mask) for row in rows],
    }
    log = TrainingLog(folder / "metrics.jsonl", "sft", "loss", console)
    trainer = SFTTrainer(
        model=student.model,
        args=to_sft_config(recipe, folder),
        train_dataset=Dataset.from_dict(columns),
        processing_class=student.tokenizer,
        callbacks=[log],
    )
    log.quieten(trainer)
    return trainer, log
