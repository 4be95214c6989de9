"""Memory that is free but still this process's: on Linux, glibc's heap keeps what large tensors leave behind.

Loading a 4-bit student frees more than it keeps, and so do rollouts; a training step cannot use the pieces again:
tensors are aligned, and glibc finds no aligned place in them. So they are given back to the system after either.
"""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back_freed_memory() -> None:
    """Let the C library return free pages; where it is not glibc there is nothing to call, and nothing is done."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(ctypes.c_size_t(0))


def let_go() -> None:
    """Free what a stage leaves behind, cycles of a model that is done with, before the next one loads its own."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    give_back_freed_memory()
