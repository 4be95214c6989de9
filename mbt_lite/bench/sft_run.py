"""One SFT run in a process of its own (`student/process.py`), ours or stock TRL's.

Both train on the same tokenised rows in the same order, from the same seed, with the recipe's settings. The stock run
is what a TRL user would write: the model loaded by transformers in the same 4 bits, TRL's trainer with a LoRA config,
mixed bfloat16 where the model computes in it (TRL's default), rows padded in the sampler's order.
"""

from __future__ import annotations

import dataclasses
import gc
import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from trl import SFTConfig, SFTTrainer

from mbt_lite.bench.sft import Job, Run
from mbt_lite.bench.step_clock import StepClock
from mbt_lite.console import Screen
from mbt_lite.memory import Probe
from mbt_lite.recipe import load_recipe
from mbt_lite.stages.sft import read_traces
from mbt_lite.student.adapters import add_adapter, to_lora_config
from mbt_lite.student.loading import choose_dtype, folder_or_id, kept_in_float32, load_student
from mbt_lite.training.rows import encode_traces
from mbt_lite.training.sft import build_trainer, to_dataset


def run(job: Job) -> Run:
    """Load, train, measure."""
    recipe = load_recipe(Path(job.recipe), list(job.settings))

    load = load_ours if job.trainer == "mbt-lite" else load_stock
    student, rows = load(recipe, Path(job.traces))
    gc.collect()
    on_cuda = torch.cuda.is_available()
    probe = Probe(on_cuda=on_cuda, baseline=torch.cuda.memory_allocated() if on_cuda else None)
    build = build_ours if job.trainer == "mbt-lite" else build_stock
    trainer = build(recipe, student, rows, Path(job.folder))
    clock = StepClock()
    trainer.add_callback(clock)
    trainer.train()
    return Run(
        trainer=job.trainer,
        rows=len(rows),
        tokens=round(sum(len(row.input_ids) for row in rows) * trainer.state.epoch),
        seconds=clock.seconds,
        cpu_seconds=clock.cpu_seconds,
        memory_mib=probe.mark("training") / 2**20,
        losses=tuple(entry["loss"] for entry in trainer.state.log_history if "loss" in entry),
        threads=torch.get_num_threads(),
    )


def load_ours(recipe: Any, traces: Path) -> tuple[Any, Any]:
    """Load as the stage does."""
    sft = recipe.sft
    student = load_student(recipe.model, gradient_checkpointing=sft.gradient_checkpointing)
    add_adapter(student, recipe.lora, sft.seed, gradient_checkpointing=sft.gradient_checkpointing)
    return student, encode_traces(read_traces(traces), student.tokenizer, sft.max_sequence_tokens).rows


def build_ours(recipe: Any, student: Any, rows: Any, folder: Path) -> Any:
    """Build the stage's trainer."""
    with kept_in_float32(student.model):
        return build_trainer(recipe, student, rows, (), folder, Screen(quiet=True), lambda values, step: None)[0]


def load_stock(recipe: Any, traces: Path) -> tuple[Any, Any]:
    """Load as the documentation of TRL and bitsandbytes says."""
    source, dtype = folder_or_id(recipe.model.name), choose_dtype(recipe.model.dtype)
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    model = AutoModelForCausalLM.from_pretrained(
        source,
        dtype=dtype,
        quantization_config=four_bit if recipe.model.quantization == "nf4" else None,
        device_map={"": 0} if torch.cuda.is_available() else None,
    )
    tokenizer = AutoTokenizer.from_pretrained(source)
    rows = encode_traces(read_traces(traces), tokenizer, recipe.sft.max_sequence_tokens).rows
    return (model, tokenizer), rows


def build_stock(recipe: Any, student: Any, rows: Any, folder: Path) -> Any:
    """Build TRL's own trainer with the recipe's settings; it makes the adapter itself."""
    sft, (model, tokenizer) = recipe.sft, student
    config = SFTConfig(
        output_dir=str(folder),
        learning_rate=sft.learning_rate,
        num_train_epochs=sft.epochs,
        per_device_train_batch_size=sft.micro_batch_size,
        gradient_accumulation_steps=sft.gradient_accumulation_steps,
        max_length=None,
        # TRL guesses this from columns that rows with token ids do not have
        completion_only_loss=True,
        warmup_steps=sft.warmup_fraction,
        lr_scheduler_type=sft.schedule,
        max_grad_norm=sft.max_gradient_norm,
        gradient_checkpointing=sft.gradient_checkpointing,
        bf16=model.dtype == torch.bfloat16,
        seed=sft.seed,
        # the same order of rows
        data_seed=sft.seed,
        save_strategy="no",
        logging_steps=1,
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
    )
    return SFTTrainer(
        model=model,
        args=config,
        train_dataset=to_dataset(rows),
        processing_class=tokenizer,
        peft_config=to_lora_config(recipe.lora),
    )


def main(job_file: str) -> None:
    """Run the job of a file and write what it found where it says."""
    wanted = json.loads(Path(job_file).read_text(encoding="utf-8"))
    found = run(Job(**{**wanted, "settings": tuple(wanted["settings"])}))
    Path(wanted["result"]).write_text(json.dumps(dataclasses.asdict(found)), encoding="utf-8")
