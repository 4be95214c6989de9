"""What products of ever new shapes leave behind in a process, with our switches and without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

ROOT = Path(__file__).parents[2]
# four products as a LoRA layer makes them, of as many rows as no step before had; MiB that the process grows by
STEPS = """
from mbt_lite.memory import resident_bytes
from mbt_lite.student.libraries import prepare
prepare()
import torch
weight, down = (torch.ones(out, 576, dtype=torch.bfloat16) for out in (1536, 16))
def step(rows):
    x = torch.ones(rows, 576, dtype=torch.bfloat16)
    y = x @ weight.T
    y @ weight, x @ down.T, y.T @ x
step(600)
for rows in range(200, 240):
    step(rows)
before = resident_bytes()
for rows in range(240, 300):
    step(rows)
print((resident_bytes() - before) / 2**20)
"""


def grown(**switches: str) -> float:
    names = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    environment = {key: value for key, value in os.environ.items() if key not in names} | switches
    done = subprocess.run(
        [sys.executable, "-c", STEPS], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads resident memory from /proc")
def test_rows_of_ever_new_lengths_do_not_make_a_process_grow() -> None:
    without = grown(ONEDNN_PRIMITIVE_CACHE_CAPACITY="1024", LRU_CACHE_CAPACITY="1024")
    if without < 60:
        pytest.skip(f"this processor's products keep nothing (got {without:.0f} MiB of 240 shapes)")
    assert grown() < without / 5
