"""Tiny operations of the heavy libraries, each run in a process of its own: `python -m mbt_lite.doctor.probe NAME`.

A library that ends the whole interpreter ends only its probe. A probe prints one line of JSON and exits with 0.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from typing import Any

TIMEOUT_SECONDS = 180


class ProbeError(Exception):
    """A probe that did not run through; the message is the last thing it said."""


def ask(name: str) -> dict[str, Any]:
    """Run a probe in a process of its own; ProbeError if it fails, crashes or hangs."""
    command = [sys.executable, "-m", "mbt_lite.doctor.probe", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ProbeError(f"no answer within {TIMEOUT_SECONDS} s") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        crash = f"crashed with signal {-done.returncode}" if done.returncode < 0 else "failed"
        raise ProbeError(f"{crash} ({said[-1] if said else 'without a word'})")
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def _torch() -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        return {"cuda": torch.version.cuda, "device": None}
    return {
        "cuda": torch.version.cuda,
        "device": torch.cuda.get_device_name(),
        "capability": list(torch.cuda.get_device_capability()),
        "memory": torch.cuda.get_device_properties(0).total_memory,
    }


def _bitsandbytes() -> dict[str, Any]:
    """Store a matrix in 4 bits and read it back: nf4 is off by less than a fifth of the largest weight."""
    from mbt_lite.student.libraries import prepare

    prepare()
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    device = "cuda" if torch.cuda.is_available() else "cpu"
    weights = torch.linspace(-1, 1, 4096, device=device).reshape(64, 64)
    packed, state = quantize_4bit(weights, quant_type="nf4", compress_statistics=True)
    error = float((dequantize_4bit(packed, state) - weights).abs().max())
    assert error < 0.2, f"4-bit storage is off by {error:.2f}"
    return {"device": device, "error": error}


def _triton() -> dict[str, Any]:
    import torch
    import triton
    import triton.language as tl

    @triton.jit  # type: ignore[untyped-decorator]
    def double(pointer: Any, size: Any, block: tl.constexpr) -> None:
        places = tl.arange(0, block)
        inside = places < size
        tl.store(pointer + places, 2 * tl.load(pointer + places, mask=inside), mask=inside)

    numbers = torch.arange(33, device="cuda", dtype=torch.float32)
    double[(1,)](numbers, 33, 64)
    assert numbers.tolist() == [2.0 * place for place in range(33)], "Triton computed something else"
    return {"version": triton.__version__}


def _unsloth() -> dict[str, Any]:
    from mbt_lite.student.libraries import prepare

    prepare()
    return {"version": importlib.import_module("unsloth").__version__}


_PROBES = {"torch": _torch, "bitsandbytes": _bitsandbytes, "triton": _triton, "unsloth": _unsloth}

if __name__ == "__main__":
    print(json.dumps(_PROBES[sys.argv[1]]()))
