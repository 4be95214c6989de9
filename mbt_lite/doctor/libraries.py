"""The heavy libraries: do they run, and do they see the card?"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

from mbt_lite.doctor.findings import Finding
from mbt_lite.doctor.probe import ProbeError, ask

# Compute capability of the first cards that multiply bfloat16 natively.
_AMPERE = (8, 0)
_REINSTALL = "pip install --force-reinstall -c constraints-base.txt {package}"


def check_libraries(card: str | None) -> Iterator[Finding]:
    """Probe torch, bitsandbytes, Triton and unsloth; `card` is what nvidia-smi sees, None without one."""
    if importlib.util.find_spec("torch") is None:
        yield Finding("torch", "not installed, so only gen with an endpoint runs", "make setup, or make setup-gpu")
        return
    try:
        found = ask("torch")
    except ProbeError as error:
        yield Finding("torch", str(error), _REINSTALL.format(package="torch"))
        return
    yield from check_torch(found, card)
    yield _probe("bitsandbytes", "4-bit storage works", _REINSTALL.format(package="bitsandbytes"))
    if found["device"] is None:
        yield Finding("triton", "not needed without a CUDA device")
    else:
        yield _probe("triton", "a kernel runs", "install a C compiler (apt install gcc python3-dev), reinstall triton")
    if importlib.util.find_spec("unsloth") is None:
        yield Finding("unsloth", "not installed; the backend is transformers")
    else:
        yield _probe("unsloth", "imports", "make setup-gpu, or set model.backend to transformers")


def check_torch(found: dict[str, Any], card: str | None) -> Iterator[Finding]:
    """Say what torch sees of the card."""
    if found["device"] is None:
        if card is None:
            yield Finding("cuda", "no card; everything runs on the processor")
        elif found["cuda"] is None:
            yield Finding("cuda", f"{card} is there, but this torch is built without CUDA", "make setup-gpu")
        else:
            cure = "update the NVIDIA driver (nvidia-smi shows its CUDA version), or install a torch for an older CUDA"
            yield Finding("cuda", f"{card} is there, but torch for CUDA {found['cuda']} cannot use it", cure)
        return
    major, minor = found["capability"]
    yield Finding("cuda", f"{found['device']}, CUDA {found['cuda']}, compute capability {major}.{minor}")
    if (major, minor) < _AMPERE or not found["bfloat16"]:
        cure = "set model.dtype to float32 (slow), or use a card since Ampere (2020)"
        yield Finding("bfloat16", "this card has no native bfloat16", cure)
    else:
        yield Finding("bfloat16", "native")


def _probe(name: str, said: str, cure: str) -> Finding:
    try:
        ask(name)
    except ProbeError as error:
        return Finding(name, str(error), cure)
    return Finding(name, said)
