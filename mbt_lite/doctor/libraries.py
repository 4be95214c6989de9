"""The heavy libraries: do they run, and do they see the card?"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

from mbt_lite.cards import Card, precision_of, unseen
from mbt_lite.doctor.findings import Finding
from mbt_lite.doctor.probe import ProbeError, ask

# Compute capability of the first cards that Triton compiles for.
_VOLTA = (7, 0)
_REINSTALL = "pip install --force-reinstall -c constraints-base.txt {package}"


def check_libraries(card: Card | None) -> Iterator[Finding]:
    """Probe torch, bitsandbytes, Triton and unsloth; `card` is the one that nvidia-smi sees, if any."""
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


def check_torch(found: dict[str, Any], card: Card | None) -> Iterator[Finding]:
    """Say what torch sees of the card."""
    if found["device"] is None:
        if card is None:
            yield Finding("cuda", "no card; everything runs on the processor")
        else:
            yield Finding("cuda", *unseen(card, found["cuda"]))
        return
    major, minor = found["capability"]
    said = f"{found['device']}, CUDA {found['cuda']}, compute capability {major}.{minor}"
    if (major, minor) < _VOLTA:
        yield Finding("cuda", f"{said}, which Triton's kernels do not run on", "use a card since Volta (2017)")
    else:
        yield Finding("cuda", said)
    yield Finding("precision", precision_of((major, minor)))


def _probe(name: str, said: str, cure: str) -> Finding:
    try:
        ask(name)
    except ProbeError as error:
        return Finding(name, str(error), cure)
    return Finding(name, said)
