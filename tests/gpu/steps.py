"""The steps of `check.py`, one a process: `python tests/gpu/steps.py STEP [--small]`.

The last line is JSON, what the step found; an exception is a failed step. The student is Qwen3-4B's architecture with
random weights; in the small form a tiny one, and every length is a hundredth. The backend is imported before all that it
patches: unsloth's steps begin with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mbt_lite.student.libraries import prepare

prepare()

ROOT = Path(__file__).parents[2]
SKIPPED = 77
SMALL = "--small" in sys.argv
CAP_GIB = 24.0
STUDENT = "random:qwen3-4b"
# tokens of prompts, completions and training rows
PROMPT, COMPLETION, ROW = (48, 16, 96) if SMALL else (3072, 2048, 6144)


def recipe(*settings: str, backend: str = "transformers") -> Any:
    """Give the shipped recipe on the student of this check."""
    from mbt_lite.recipe import load_recipe

    name = tiny_folder() if SMALL else STUDENT
    short = [
        "sft.gradient_accumulation_steps=2",
        f"grpo.max_completion_tokens={COMPLETION}",
        "grpo.rollout_batch_size=8",
    ]
    small = ["grpo.prompts_per_step=1", "grpo.reward.overlong_buffer_tokens=4", "lora.rank=4"] if SMALL else []
    path = ROOT / "recipes/mbt_r.yaml"
    return load_recipe(path, [f"model.name={name}", f"model.backend={backend}", *short, *small, *settings])


def tiny_folder() -> str:
    """Write the tests' tiny student once."""
    folder = Path(tempfile.gettempdir()) / "mbt-gpu-check-tiny"
    if not (folder / "config.json").exists():
        from tiny_student import save_tiny_student

        save_tiny_student(folder)
    return str(folder)


def gib(size: float) -> float:
    return round(size / 2**30, 3)


def cap_memory() -> None:
    """Let CUDA allocate as much as the card that the recipe is for."""
    import torch

    if torch.cuda.is_available():
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, CAP_GIB * 2**30 / whole))


def probe() -> dict[str, Any]:
    """Is there a card, and do the libraries work on it?"""
    import torch

    from mbt_lite.doctor.probe import ask

    assert SMALL or torch.cuda.is_available(), "torch sees no card"
    found: dict[str, Any] = {"torch": torch.__version__, **ask("torch"), "bitsandbytes": ask("bitsandbytes")["error"]}
    return found | ({"triton": ask("triton")["version"]} if torch.cuda.is_available() else {})


def reward() -> dict[str, Any]:
    """Run the tests of the reward's kernel that need a card, and time it beside the law."""
    from mbt_lite.bench.reward import Batch, measure_reward

    tests = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "gpu", "tests/rewards"]
    done = subprocess.run(tests, cwd=ROOT, capture_output=True, text=True, check=False)
    # 5: none is selected
    assert done.returncode in (0, 5), done.stdout[-2000:]
    lines: list[Any] = []
    measured = measure_reward("embedded:smollm2-135m", Batch(2, 2, 64) if SMALL else Batch(8, 8, 1024), 3, lines.append)
    return {"tests": done.stdout.strip().splitlines()[-1], "bench": measured.result}


def load() -> dict[str, Any]:
    """Write the random student (once), load it in 4 bits, and hold its memory against the plan."""
    import torch

    from mbt_lite.memory import peak_bytes
    from mbt_lite.student.loading import folder_or_id, load_student

    began = time.monotonic()
    made = recipe()
    folder_or_id(made.model.name)
    written = time.monotonic()
    student = load_student(made.model)
    seconds = {"write": round(written - began, 1), "load": round(time.monotonic() - written, 1)}
    held = torch.cuda.memory_allocated() if torch.cuda.is_available() else peak_bytes()
    planned = planned_phases(made)["sft"]["load"]
    return {"seconds": seconds, "held_gib": gib(held), "planned_gib": planned, "dtype": str(student.compute_dtype)}


def planned_phases(made: Any) -> dict[str, dict[str, float]]:
    """Plan the recipe for this check's lengths, without what CUDA takes for itself."""
    import torch

    from mbt_lite.plan.stages import Lengths, phases_of
    from mbt_lite.plan.student_files import read_architecture
    from mbt_lite.plan.target import choose_target, make_setup

    target = choose_target(CAP_GIB if torch.cuda.is_available() else None)
    setup = make_setup(made, read_architecture(made.model.name), target)
    stages = phases_of(made, setup, Lengths(PROMPT, ROW))
    return {
        stage: {one.name: gib(one.bytes - one.causes.get("CUDA context", 0)) for one in phases}
        for stage, phases in stages.items()
    }


def measured(stage: str, *settings: str, backend: str = "transformers") -> dict[str, Any]:
    """Run two full-length steps of a stage under the cap; give seconds and peaks beside the plan."""
    from mbt_lite.plan import trial
    from mbt_lite.plan.stages import Lengths
    from mbt_lite.student.backend import import_backend

    import_backend(backend)
    made = recipe(*settings, backend=backend)
    if not SMALL:
        # the table of a check needs no completions at their limit to be made slowly: a quarter shows the rate
        made = made.model_copy(update={"grpo": made.grpo.model_copy(update={"prompts_per_step": 1})})
    began = time.monotonic()
    peaks = trial.run(stage, made, Lengths(PROMPT, ROW), CAP_GIB)
    planned = planned_phases(made)[stage]
    table = {name: {"peak_gib": gib(size), "planned_gib": planned.get(name, 0.0)} for name, size in peaks.items()}
    return {"seconds": round(time.monotonic() - began, 1), **table}


def decode() -> dict[str, Any]:
    """Decode 16, 32 and 64 rows in groups of 8, as rollouts do; count the kernels of a step."""
    from mbt_lite.student.adapters import load_with_adapter

    cap_memory()
    made = recipe()
    student = load_with_adapter(made.model, made.lora, 0, gradient_checkpointing=False)
    return {f"{rows} rows": decoded(student, rows) for rows in (16, 32, 64)}


def decoded(student: Any, rows: int) -> dict[str, Any]:
    """Give tokens a second of a batch, and what the profiler saw of a few steps."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from mbt_lite.generation.decoding import Decoding
    from mbt_lite.generation.generate import complete

    student = endless(student)
    prompts = [[5 + (i + place) % 900 for place in range(PROMPT // 2)] for i in range(rows // 8)]

    def run(tokens: int) -> float:
        began = time.monotonic()
        decoding = Decoding(max_completion_tokens=tokens, samples=8, temperature=1.0, batch_size=rows)
        written = [ids for *_, (ids, _) in complete(student, prompts, decoding)]
        assert sum(map(len, written)) == rows * tokens, "a completion ended by itself"
        return time.monotonic() - began

    first, more = (4, 12) if SMALL else (8, 72)
    run(2)
    short = run(first)
    rate = rows * (more - first) / max(1e-9, run(more) - short)
    on_card = torch.cuda.is_available()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]) as seen:
        run(3)
    calls = sum(one.count for one in seen.key_averages() if (one.key == "cudaLaunchKernel" or not on_card))
    return {"tokens_per_second": round(rate, 1), "launches_of_3_steps": calls}


def endless(student: Any) -> Any:
    """Give the student without an end of its turn."""
    from mbt_lite.student.loading import Student

    class Endless(Student):
        @property
        def stop_ids(self) -> frozenset[int]:
            return frozenset({-1})

    return Endless(student.model, student.tokenizer, student.backend, student.compute_dtype)


def numbers() -> dict[str, Any]:
    """Compare roads that must agree: packed rows and single ones, shared prefix and plain generate, adapter on and off."""
    import torch

    from mbt_lite.generation.decoding import Decoding
    from mbt_lite.generation.generate import complete
    from mbt_lite.student.adapters import load_with_adapter
    from mbt_lite.training import packed_attention

    made = recipe()
    student = load_with_adapter(made.model, made.lora, 0, gradient_checkpointing=False)
    prompt = [5 + place % 900 for place in range(PROMPT // 8)]
    [(_, _, (greedy, _))] = complete(student, [prompt], Decoding(max_completion_tokens=8))
    ids = torch.tensor([prompt], device=student.device)
    with torch.inference_mode(), student.rollout_model() as model:
        plain = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
    same = plain[0, len(prompt) :].tolist()[: len(greedy)]
    with torch.no_grad():
        for name, weight in student.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.01)
    rows = [[7 + (i + place) % 500 for place in range(20 + i)] for i in range(3)]
    packed_attention.enable(student.model)
    layout = packed_attention.pack([((), [row]) for row in rows], student.device)
    with torch.no_grad():
        # a padded or single row is not packed
        alone = torch.cat([student.model(torch.tensor([row], device=student.device)).logits[0] for row in rows])
        together = student.model(**layout.forward_arguments()).logits[0]
        with student.model.disable_adapter():
            off = student.model(**layout.forward_arguments()).logits[0]
    scale = float(alone.abs().max())
    apart = float((alone - together).abs().max()) / scale
    assert apart < 0.05, f"packed rows differ from single ones by {apart:.3f} of the largest logit"
    assert not torch.equal(off, together), "the adapter changes nothing"
    return {"packed_against_single": apart, "adapter": float((off - together).abs().max()) / scale,
            "greedy_tokens_equal": sum(a == b for a, b in zip(greedy, same, strict=True)) / len(greedy)}  # fmt: skip


def by_unsloth(stage: str, *settings: str) -> dict[str, Any]:
    """Run two steps through unsloth, and hold what its trainers are told against the recipe."""
    skip_without_unsloth()
    return measured(stage, *settings, backend="unsloth")


def skip_without_unsloth() -> None:
    from mbt_lite.student.backend import has_unsloth

    if not has_unsloth():
        print("unsloth is not installed")
        raise SystemExit(SKIPPED)


def unsloth_decode() -> dict[str, Any]:
    """Decode by unsloth: prompts of one length, of different lengths, and with its CUDA graphs."""
    skip_without_unsloth()
    from mbt_lite.student.backend import import_backend

    import_backend("unsloth")
    import torch

    from mbt_lite.student.adapters import load_with_adapter

    cap_memory()
    made = recipe(backend="unsloth")
    student = load_with_adapter(made.model, made.lora, 0, gradient_checkpointing=False)
    equal = [[5 + place % 900 for place in range(PROMPT // 2)]] * 8
    mixed = [row[: len(row) - 3 * i] for i, row in enumerate(equal)]
    tokens = 4 if SMALL else 48
    found: dict[str, Any] = {}
    for name, prompts in (("equal", equal), ("mixed", mixed)):
        with torch.inference_mode(), student.rollout_model() as model:
            found[name] = library_rate(model, student, prompts, tokens)
    if torch.cuda.is_available():
        from unsloth.models._decode_graphs import rl_generation

        with torch.inference_mode(), student.rollout_model() as model, rl_generation():
            found["graphs"] = library_rate(model, student, equal, tokens)
    return found


def library_rate(model: Any, student: Any, prompts: list[list[int]], tokens: int) -> float:
    """Give the tokens a second of a model's own `generate`, the second time."""
    import torch

    width = max(map(len, prompts))
    ids = torch.tensor([[student.pad_id] * (width - len(row)) + row for row in prompts], device=student.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=student.device)
    for _ in range(2):
        began = time.monotonic()
        model.generate(ids, attention_mask=mask, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.monotonic() - began
    return round(len(prompts) * tokens / seconds, 1)


STEPS: dict[str, Callable[[], dict[str, Any]]] = {
    "probe": probe,
    "reward": reward,
    "load": load,
    "sft": lambda: measured("sft", "sft.micro_batch_size=1"),
    "grpo-1": lambda: measured("grpo", "grpo.micro_batch_size=1"),
    "grpo-8": lambda: measured("grpo", "grpo.micro_batch_size=8"),
    "decode": decode,
    "numbers": numbers,
    "unsloth-sft": lambda: by_unsloth("sft", "sft.micro_batch_size=1"),
    "unsloth-grpo-1": lambda: by_unsloth("grpo", "grpo.micro_batch_size=1"),
    "unsloth-grpo-8": lambda: by_unsloth("grpo", "grpo.micro_batch_size=8"),
    "unsloth-decode": unsloth_decode,
}

if __name__ == "__main__":
    print(json.dumps(STEPS[sys.argv[1]]()))
