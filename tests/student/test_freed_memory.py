"""Free pages go back to the system, so that the process is as large as what it holds."""

import ctypes
import sys

import pytest

from mbt_lite.memory import resident_bytes
from mbt_lite.student.freed_memory import give_back_freed_memory, let_go

MEBIBYTE = 2**20


def test_give_back_freed_memory_returns_pages_below_what_is_still_held():
    if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("needs glibc, whose heap keeps free pages")
    # too small for a mapping of their own, which would go back at once; the last keeps the heap's end in place
    held = [bytearray(b"x" * 60_000) for _ in range(1500)]
    del held[:-1]
    before = resident_bytes()
    give_back_freed_memory()
    assert before - resident_bytes() > 60 * MEBIBYTE
    assert held[0][-1] == ord("x")


def test_let_go_frees_what_cycles_hold():
    if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("needs glibc, whose heap keeps free pages")
    cycle = [bytearray(b"x" * 60_000) for _ in range(1500)]
    cycle.append(cycle)
    before = resident_bytes()
    del cycle
    let_go()
    assert before - resident_bytes() > 60 * MEBIBYTE
