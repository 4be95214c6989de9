"""How fast SFT is beside a stock TRL run on the same rows: paired runs in fresh processes, in alternating order."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from mbt_lite.bench.measurement import measured
from mbt_lite.bench.uneven_traces import uneven_traces
from mbt_lite.errors import RunError
from mbt_lite.files import read_jsonl, write_jsonl
from mbt_lite.recipe import load_recipe
from mbt_lite.records import Measurement, to_row
from mbt_lite.student import process
from mbt_lite.student.backend import backend_of

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")
# Checkpoints are not what is measured.
NO_CHECKPOINTS = "sft.save_every_steps=1000000"


Trainer = Literal["mbt-lite", "trl"]


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What one run is to do: all paths as text, `result` is where it writes its `Run`."""

    trainer: Trainer
    recipe: str
    settings: tuple[str, ...]
    traces: str
    folder: str
    result: str


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """What one run found.

    `seconds` are from the first step's begin to the last step's end, `cpu_seconds` those of all threads, `tokens` are
    not padding. Memory is the peak above the loaded model. `losses` has one mean a step.
    """

    trainer: Trainer
    rows: int
    tokens: int
    seconds: float
    cpu_seconds: float
    memory_mib: float
    losses: tuple[float, ...]
    threads: int


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """What one trainer reached: medians of its runs."""

    tokens_per_second: float
    tokens_per_cpu_second: float
    memory_mib: float
    mean_loss: float
    last_quarter_loss: float


def measure_sft(
    recipe_file: Path, settings: Sequence[str], traces: Path | None, rows: int, pairs: int, say: Callable[[str], None]
) -> Measurement:
    """Run ours and stock TRL `pairs` times; `say` gets a line after each run.

    `traces` is a file to take the first `rows` traces from; without one they are made. Raises RunError if it is empty.
    """
    recipe = load_recipe(recipe_file, settings)
    lines = [to_row(trace) for trace in uneven_traces(rows, seed=0)] if traces is None else read_jsonl(traces)[:rows]
    if not lines:
        raise RunError(f"{traces}: no traces (got 0); run `mbt-lite gen` first, or leave `--traces` out")
    runs: dict[Trainer, list[Run]] = {"mbt-lite": [], "trl": []}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "traces.jsonl"
        write_jsonl(file, lines)
        for pair in range(pairs):
            # whoever comes first meets the machine in another state
            order: list[Trainer] = ["mbt-lite", "trl"] if pair % 2 == 0 else ["trl", "mbt-lite"]
            for trainer in order:
                job = Job(trainer, str(recipe_file), (*settings, NO_CHECKPOINTS), str(file), "", "")
                run = run_alone(job, Path(folder) / f"{trainer}-{pair}")
                runs[trainer].append(run)
                say(f"pair {pair + 1}, {said(trainer, medians([run]))}")
    ours, stock = medians(runs["mbt-lite"]), medians(runs["trl"])
    first = runs["mbt-lite"][0]
    settings_used = {
        "model": recipe.model.model_dump(),
        "lora": recipe.lora.model_dump(),
        "sft": recipe.sft.model_dump(),
        "rows": first.rows,
        "tokens": first.tokens,
        "threads": first.threads,
        "environment": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "traces": "made" if traces is None else str(traces),
    }
    figures = {
        **compared(ours, stock),
        "mbt-lite": dataclasses.asdict(ours),
        "trl": dataclasses.asdict(stock),
        "runs": [dataclasses.asdict(run) for run in (*runs["mbt-lite"], *runs["trl"])],
    }
    return measured(
        "sft", sentence(ours, stock, first, pairs), settings=settings_used, figures=figures, packages=PACKAGES
    )


def run_alone(job: Job, folder: Path) -> Run:
    """Run a job in a fresh process; RunError with the end of what it wrote if it fails."""
    folder.mkdir()
    asked, result = folder / "job.json", folder / "result.json"
    backend = backend_of(load_recipe(Path(job.recipe), list(job.settings)), "sft")
    settings = (*job.settings, f"model.backend={backend}")
    job = dataclasses.replace(job, settings=settings, folder=str(folder / "out"), result=str(result))
    asked.write_text(json.dumps(dataclasses.asdict(job)), encoding="utf-8")
    command = process.command(backend if job.trainer == "mbt-lite" else "none", "mbt_lite.bench.sft_run", str(asked))
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["nothing was written"]
        raise RunError(f"bench sft: the {job.trainer} run failed ({last[0]}); run the stage itself to see more")
    found = json.loads(result.read_text(encoding="utf-8"))
    return Run(**{**found, "losses": tuple(found["losses"])})


def medians(runs: Sequence[Run]) -> Figures:
    """Put runs of one trainer together."""

    def middle(figure: Callable[[Run], float]) -> float:
        return round(statistics.median(figure(run) for run in runs), 4)

    return Figures(
        tokens_per_second=middle(lambda run: run.tokens / run.seconds),
        tokens_per_cpu_second=middle(lambda run: run.tokens / run.cpu_seconds),
        memory_mib=middle(lambda run: run.memory_mib),
        mean_loss=middle(lambda run: statistics.fmean(run.losses)),
        last_quarter_loss=middle(lambda run: statistics.fmean(run.losses[-max(1, len(run.losses) // 4) :])),
    )


def compared(ours: Figures, stock: Figures) -> dict[str, Any]:
    """Give our medians over stock's, by figure."""
    ratios = {
        field.name: getattr(ours, field.name) / getattr(stock, field.name) for field in dataclasses.fields(Figures)
    }
    return {f"{name}_ratio": round(ratio, 4) for name, ratio in ratios.items()}


def said(trainer: str, figures: Figures) -> str:
    """Say what a trainer reached."""
    return (
        f"{trainer}: {figures.tokens_per_second:.0f} tokens/s, {figures.memory_mib:.0f} MiB over the loaded model, "
        f"loss {figures.last_quarter_loss:.4f}"
    )


def sentence(ours: Figures, stock: Figures, run: Run, pairs: int) -> str:
    """Say the comparison in one line."""
    ratios = compared(ours, stock)
    return (
        f"{ratios['tokens_per_second_ratio']:.2f} times the tokens/s of stock TRL "
        f"({ours.tokens_per_second:.0f} and {stock.tokens_per_second:.0f}; by CPU time "
        f"{ratios['tokens_per_cpu_second_ratio']:.2f} times), peak over the loaded model {ours.memory_mib:.0f} and "
        f"{stock.memory_mib:.0f} MiB, loss of the last quarter {ours.last_quarter_loss:.4f} and "
        f"{stock.last_quarter_loss:.4f} ({run.rows} uneven rows, {run.threads} threads, medians of {pairs} pairs)"
    )
