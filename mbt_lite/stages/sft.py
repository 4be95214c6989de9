"""Stage `sft`: traces to an adapter, by 4-bit QLoRA with TRL, loss on the completion only.

Read traces -> hold some out -> tokenise and check every row -> train from the newest complete checkpoint -> write the
adapter, with held-out traces the one with the lowest dev loss.
Differs from the paper (arXiv 2602.22508), which tunes all weights: 1. LoRA on all linear layers of a 4-bit model, with
about ten times its learning rate (LoRA Without Regret); 2. small batches, which suit LoRA better.
"""

from __future__ import annotations

from pathlib import Path

from mbt_lite.console import Screen
from mbt_lite.data.overlap import read_overlap
from mbt_lite.errors import RunError
from mbt_lite.files import read_jsonl
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Trace, from_row
from mbt_lite.run_dir import RunDir, adapter_files
from mbt_lite.student.backend import in_stage
from mbt_lite.training.out_of_memory import naming_out_of_memory
from mbt_lite.training.trackers import check_tracker


def plan(recipe: Recipe, run_dir: RunDir) -> list[str]:
    """Say what a run would do, without loading a model; an adapter or a tracker that it lacks is refused."""
    earlier_adapter(recipe)
    check_tracker(recipe.tracking.tracker)
    traces = read_jsonl(run_dir.stage_dir("gen") / "traces.jsonl")
    batch = recipe.sft.micro_batch_size * recipe.sft.gradient_accumulation_steps
    counts = f"{len(traces)} traces, {recipe.sft.epochs:g} epochs, {batch} rows a step"
    held_out = f", {recipe.sft.held_out_traces} held out" if recipe.sft.held_out_traces else ""
    return [f"sft: {counts}, LoRA rank {recipe.lora.rank}{held_out}", *read_overlap(recipe.data).lines]


def run(recipe: Recipe, run_dir: RunDir, console: Screen) -> None:
    """Train the adapter `sft/adapter`; done already: say so and return.

    Raises RunError without traces, ModelError for a template that does not fit, a missing tracker, too little memory.
    """
    traces_file = run_dir.stage_dir("gen") / "traces.jsonl"
    run_dir.check_outputs("gen")
    traces = read_traces(traces_file)
    inputs = run_dir.fingerprint([traces_file, *earlier_adapter(recipe)])
    if run_dir.is_done("sft", inputs):
        console.print(f"sft: done already, adapter in {run_dir.stage_dir('sft') / 'adapter'}")
        return
    for line in read_overlap(recipe.data).lines:
        console.print(line, soft_wrap=True)
    check_tracker(recipe.tracking.tracker)
    with run_dir.locked("sft", inputs) as folder, naming_out_of_memory(recipe, "sft", folder):
        # trl and what it brings, after the backend that patches it
        recipe = in_stage(recipe, "sft")
        from mbt_lite.training.sft import train

        summary = train(recipe, traces, folder, console)
        run_dir.mark_done("sft", inputs, summary, adapter_files(folder / "adapter"))
    console.print(f"sft: adapter in {folder / 'adapter'}, final loss {summary['final_loss']:.3f}")


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
