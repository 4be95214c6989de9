"""How fast the student writes rollouts: prompts of several samples each, whose completions end unevenly, by themselves.

Told beside tokens a second: the share of rows that were alive at a decode step (the others are computed for nothing),
and the share of the time that matrix products take, measured in a run of its own under torch's profiler.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

from mbt_lite.bench.measurement import measured
from mbt_lite.data.synthetic import FILES, generate_questions
from mbt_lite.prompts import student_messages
from mbt_lite.recipe.schema import Lora, Model
from mbt_lite.records import Measurement

# What torch and bitsandbytes call a matrix product, attention's included.
_PRODUCTS = ("::mm", "::bmm", "::addmm", "_linear_pointwise", "_scaled_dot_product", "gemm", "gemv", "dequantize")


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """What is written: so many samples of so many prompts, in `rows` at once."""

    model: str
    prompts: int
    samples: int
    completion_tokens: int
    rows: int
    threads: int | None


def measure_rollouts(load: Load, runs: int, say: Callable[[str], None]) -> Measurement:
    """Measure `runs` times the same rollouts; `say` gets a line after each."""
    student = _load(load)
    found = []
    for run in range(1, runs + 1):
        found.append(_roll_out(student, load))
        one = found[-1]
        say(
            f"run {run}: {one['tokens']} tokens, {one['wall']:.1f} s, {one['tokens_per_second']:.0f} tokens/s, "
            f"{one['tokens_per_cpu_second']:.0f} a CPU second, {one['live_share']:.1%} of the rows alive"
        )
    figures: dict[str, Any] = {name: round(statistics.median(one[name] for one in found), 4) for name in found[0]}
    figures["product_share"] = round(_product_share(student, load), 3)
    result = (
        f"rollouts: {figures['tokens_per_second']:.0f} tokens/s, {figures['tokens_per_cpu_second']:.0f} a CPU second, "
        f"{figures['live_share']:.1%} of the rows alive, {figures['product_share']:.0%} in products "
        f"({load.model}, {load.prompts} x {load.samples}, up to {load.completion_tokens} tokens, {load.rows} rows, "
        f"median of {runs})"
    )
    settings = dataclasses.asdict(load)
    return measured("rollouts", result, settings=settings, figures=figures, packages=["torch", "transformers"])


def _load(load: Load) -> Any:
    """Load the student with a fresh adapter, as grpo does."""
    import torch

    from mbt_lite.student.adapters import add_adapter
    from mbt_lite.student.loading import load_student

    if load.threads is not None:
        torch.set_num_threads(load.threads)
    student = load_student(Model(name=load.model, backend="transformers"))
    add_adapter(student, Lora(rank=16, alpha=32), 0, gradient_checkpointing=False)
    return student


def _write(student: Any, load: Load) -> int:
    """Write the rollouts; give their tokens."""
    from mbt_lite.generation.decoding import Decoding
    from mbt_lite.generation.generate import generate

    decoding = Decoding(
        samples=load.samples, temperature=1.0, max_completion_tokens=load.completion_tokens, batch_size=load.rows
    )
    prompts = [student_messages(question) for question in generate_questions(FILES[0])[: load.prompts]]
    assert len(prompts) == load.prompts, f"there are {len(prompts)} questions (asked for {load.prompts})"
    return sum(len(rollout.token_ids) for rollout in generate(student, prompts, decoding))


def _roll_out(student: Any, load: Load) -> dict[str, float]:
    """Write the rollouts once; give the figures. Every decode step asks the output head once, for all its rows."""
    rows = []
    with student.rollout_model() as view:
        head = view.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = _write(student, load)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    hook.remove()
    return {
        "tokens": tokens,
        "wall": wall,
        "tokens_per_second": tokens / wall,
        "tokens_per_cpu_second": tokens / cpu,
        "live_share": tokens / sum(rows),
        "steps": len(rows),
    }


def _product_share(student: Any, load: Load) -> float:
    """Give the share of the time in matrix products, of a quarter of the prompts: a profile is large."""
    from torch.profiler import profile

    with profile() as found:
        _write(student, dataclasses.replace(load, prompts=max(1, load.prompts // 4)))
    spent: dict[str, float] = {}
    for event in found.key_averages():
        spent[event.key] = event.self_cpu_time_total + event.self_device_time_total
    return sum(took for name, took in spent.items() if any(one in name for one in _PRODUCTS)) / sum(spent.values())
