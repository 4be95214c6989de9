"""A plan for people: one table a stage, one row a phase, one column a cause, in GiB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich import box
from rich.table import Table

from mbt_lite.plan.make_plan import Plan
from mbt_lite.plan.phases import Phase
from mbt_lite.plan.workload import Counted

GIB = 2**30
GB = 10**9
CAUSES = (
    "4-bit weights", "weights", "rollout weights", "adapter", "gradients", "optimizer", "KV cache", "activations",
    "logits", "files", "process", "heap", "libraries", "vLLM", "CUDA context",
)  # fmt: skip


def stage_table(stage: str, phases: list[Phase], found: Mapping[str, Mapping[str, int]]) -> Table:
    """Make the table of a stage; below its sum, what was measured or simulated of a phase."""
    table = Table(title=stage, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("GiB")
    for one in phases:
        table.add_column(one.name, justify="right")
    for cause in CAUSES:
        if any(cause in one.causes for one in phases):
            table.add_row(cause, *(_gib(one.causes[cause]) if cause in one.causes else "" for one in phases))
    table.add_section()
    table.add_row("planned", *(_gib(one.bytes) for one in phases))
    for how, peaks in found.items():
        table.add_row(how, *(_gib(peaks[one.name]) if one.name in peaks else "" for one in phases))
    return table


def heading(plan: Plan) -> Iterator[str]:
    """Give the lines above the tables: target, lengths, what is not known."""
    setup, lengths = plan.setup, plan.workload.lengths
    stored = "4-bit" if setup.is_quantized else f"{8 * setup.dtype_bytes}-bit"
    size = setup.architecture.parameters / 1e9
    yield (
        f"{plan.target.said}: {_gib(plan.target.memory)} GiB; {size:.2f}B parameters, {stored}, "
        f"computed in {8 * setup.dtype_bytes} bits, {setup.backend}"
        + "".join(f", {stage} by {one}" for stage, one in setup.backends.items())
    )
    for counted in plan.workload.counted:
        yield _said(counted)
    prompts = f"{lengths.prompt:,} tokens"
    if lengths.in_eval != lengths.prompt:
        prompts += f" ({lengths.in_eval:,} in eval)"
    yield f"planned for prompts of {prompts}, sft rows of {lengths.row:,}, completions at their limits"
    yield from plan.workload.notes
    if setup.engine_bytes:
        yield "vLLM holds its whole share of the card while grpo runs; `--measure` measures local rollouts"
    if "unsloth" in (setup.backend, *setup.backends.values()):
        yield "unsloth shares prompts, packs and offloads; none of that is planned, so this is what it needs at most"
    if setup.device == "cuda":
        yield "computed, not measured on a card; `mbt-lite plan --measure` on the card tells"


def closing(plan: Plan) -> Iterator[str]:
    """Give the lines below the tables: the peak, the margin, disk, teacher."""
    stage, peak = plan.peak
    verdict = f"{_gib(plan.margin)} GiB to spare" if plan.margin >= 0 else f"{_gib(-plan.margin)} GiB TOO MUCH"
    kept = f", {plan.target.kept / GIB:.1f} GiB of the card left alone" if plan.target.kept else ""
    yield f"peak: {_gib(peak.bytes)} GiB in {stage}, {peak.name}: {verdict}{kept}"
    yield f"merging into 16 bits: {_gib(plan.merge.bytes)} GiB of the machine's memory"
    yield "disk: " + ", ".join(f"{what} {size / GB:.1f} GB" for what, size in plan.disk.items())
    if plan.requests is None:
        yield "teacher: the number of questions is not known"
    else:
        kinds = ", ".join(f"{count:,} {what}" for what, count in plan.requests.items())
        yield f"teacher: {kinds or 'no'} requests"


def _said(counted: Counted) -> str:
    how = "estimated by characters" if counted.is_estimate else "tokens"
    of = "" if len(counted.tokens) == counted.of else f" of {counted.of:,}"
    marks = f"median {counted.quantile(0.5):,}, p90 {counted.quantile(0.9):,}, p99 {counted.quantile(0.99):,}"
    return f"{counted.what}: {len(counted.tokens):,}{of}, {how}: {marks}, longest {max(counted.tokens):,}"


def _gib(size: int) -> str:
    return f"{size / GIB:.2f}"
