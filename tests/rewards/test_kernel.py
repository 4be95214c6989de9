"""The Triton kernel against the law: in the interpreter, compiled for real GPUs without one, and on one if it is there.

The interpreter runs in a process of its own, because TRITON_INTERPRET has to be set before triton is first imported.
"""

import importlib.metadata
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from agreement import TOKENIZERS, Batch, mismatches, random_batch

from mbt_lite.rewards.vocabulary import Vocabulary

TESTS = Path(__file__).parents[1]
LAUNCHES = (
    "write_bytes", "mark_tags", "find_spans", "fold_characters", "mark_breaks", "find_words", "hash_words",
    "count_words",
)  # fmt: skip
BYTE, SHORT, INT, LONG, FLAG = "*u8", "*i16", "*i32", "*i64", "*i1"
POINTERS = {
    "ids": INT, "starts": INT, "stop_ids": INT, "token_bytes": BYTE, "token_starts": INT, "fields": INT,
    "text": BYTE, "tags": BYTE, "breaks": BYTE, "table": LONG, "folded": SHORT, "begins": INT, "ends": INT,
    "hashes": LONG, "gold_rows": INT, "gold_words": LONG, "gold_ranks": INT, "gold_lengths": INT, "mentionable": FLAG,
    "C": "i32", "W": "i32", "V": "i32", "A": "i32", "J": "i32",
}  # fmt: skip
CONSTANTS = {"STOPS": 2, "PREFILLED": True, "BLOCK": 512, "TILE": 64}


def triton_version() -> tuple[int, ...]:
    pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    pytest.importorskip("triton", reason="needs triton, which CUDA's torch brings: pip install 'mbt-lite[interpreter]'")
    return tuple(int(part) for part in importlib.metadata.version("triton").split(".")[:2])


def test_interpreted_kernel_agrees_with_the_law() -> None:
    if triton_version() < (3, 9):
        pytest.skip("triton's interpreter before 3.9 does not run with NumPy 2.4")
    done = subprocess.run(
        [sys.executable, "-m", "rewards.agreement", "--form", "kernel", "--rows", "60"],
        cwd=TESTS,
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join([str(TESTS.parent), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert reports[0] == {"tokenizer": "toy", "rows": 20, "mismatches": 0, "by_law": reports[0]["by_law"]}
    assert sum(report["by_law"] for report in reports) <= 3 * len(reports)


@pytest.mark.parametrize("capability", [89, 90], ids=["RTX 4090", "H100"])
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
def test_kernel_compiles_for_a_gpu(capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    triton_version()
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from mbt_lite.rewards import kernel_text, kernel_words

    for name in LAUNCHES:
        function = getattr(kernel_text, name, None) or getattr(kernel_words, name)
        signature = {argument: POINTERS.get(argument, "constexpr") for argument in function.arg_names}
        constants = {
            (place,): CONSTANTS[argument]
            for place, argument in enumerate(function.arg_names)
            if signature[argument] == "constexpr"
        }
        source = ASTSource(fn=function, signature=signature, constexprs=constants)
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 8})
        # a spill would show as local memory
        assert ".local" not in compiled.asm["ptx"], name
        assert compiled.asm["cubin"]


@pytest.mark.parametrize("rows", [1, 7, 33, 1000])
def test_number_of_launches_does_not_depend_on_the_batch(
    rows: int, toy: Any, toy_vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    triton_version()
    import torch

    from mbt_lite.rewards import kernel, kernel_text, kernel_words

    launched: list[tuple[str, tuple[int]]] = []

    class Recorder:
        def __init__(self, name: str) -> None:
            self.name = name

        def __getitem__(self, grid: tuple[int]) -> Any:
            return lambda *_, **__: launched.append((self.name, grid))

    for name in LAUNCHES:
        monkeypatch.setattr(kernel_text if hasattr(kernel_text, name) else kernel_words, name, Recorder(name))
    fused = kernel.FusedKernel(toy_vocabulary, frozenset({2}), torch.device("cpu"), prefilled_think=False)
    batch = random_batch(random.Random(rows), toy, rows)
    fused.count(batch.ids, batch.golds)
    assert launched == [(name, (rows,)) for name in LAUNCHES]


def test_buffers_hold_the_longest_row(toy: Any, toy_vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    triton_version()
    import torch

    from mbt_lite.rewards import kernel

    asked = SimpleNamespace(width=0)

    def launch(self: Any, ids: Any, starts: Any, width: int, golds: Any) -> Any:
        asked.width = width
        return torch.zeros((len(starts) - 1, len(kernel.FIELDS)), dtype=torch.int32)

    monkeypatch.setattr(kernel.FusedKernel, "_launch", launch)
    fused = kernel.FusedKernel(toy_vocabulary, frozenset({2}), torch.device("cpu"), prefilled_think=True)
    text = "we think about Rome " * 40
    fused.count([toy.encode(text, add_special_tokens=False), [], [5]], [["Rome"]] * 3)
    needed = len("<think>") + len(text)
    assert needed <= asked.width < needed + 128


@pytest.mark.gpu
@pytest.mark.parametrize("rows", [1, 7, 33, 1000])
@pytest.mark.parametrize("any_tokenizer", TOKENIZERS, indirect=True)
def test_kernel_on_a_gpu_agrees_with_the_law(any_tokenizer: Any, rows: int, cuda: Any) -> None:
    triton_version()
    for seed in range(3):
        found, _ = mismatches(any_tokenizer, random_batch(random.Random(seed), any_tokenizer, rows))
        assert found == []


@pytest.mark.gpu
def test_kernel_on_a_gpu_agrees_with_the_law_on_long_rows(toy: Any, cuda: Any) -> None:
    triton_version()
    dice = random.Random(0)
    parts = [random_batch(dice, toy, 60) for _ in range(8)]
    ids = [[token for row in part.ids for token in row if token != toy.eos_token_id] for part in parts]
    found, _ = mismatches(toy, Batch(ids, [part.golds[0] for part in parts], False))
    assert found == []
