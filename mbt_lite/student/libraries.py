"""The one place that sets switches of other libraries before they are imported.

Call `prepare` before torch, transformers, trl, peft or unsloth are first imported.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys

# glibc gives large blocks back to the kernel and faults them in again at each tensor; keeping them makes training on a
# CPU about a tenth faster. Values of mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_KEEP_BYTES = 1 << 28
# Of each product of a new shape oneDNN keeps 0.4 MB of code, and ideep above it as much again: of the last 1,024 each,
# which uneven rows fill. A micro-batch has about thirty shapes; what it uses again must stay.
_KEPT_PRODUCTS = "64"
# What makes unsloth's vLLM sleep while training, and what adds the adapter to the weights: both off.
ENGINE_SWITCHES = {"UNSLOTH_VLLM_STANDBY": "0", "UNSLOTH_VLLM_MERGED_ROLLOUT": "0"}


def prepare() -> None:
    """Set switches: no tokenizer threads to fork, no telemetry, quiet start, short waits, what memory is kept."""
    # embedded imports from here too
    from mbt_lite.student.embedded import cache_root

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    # unsloth would fetch a file from the hub to be counted, and write compiled trainers into the working directory
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(cache_root() / "unsloth"))
    # the stages show their own progress; downloads from the hub keep their bars
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    # GNU OpenMP's threads spin for milliseconds before they sleep; beside another busy process on the same cores every
    # small product of decoding would then wait for a time slice
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KEPT_PRODUCTS)
    os.environ.setdefault("LRU_CACHE_CAPACITY", _KEPT_PRODUCTS)
    # bitsandbytes says at import that an optional compiled kernel is missing: harmless, and not the user's concern
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if sys.platform == "linux":
        _keep_freed_memory()


def prepare_engine() -> None:
    """Set unsloth's switches for vLLM on the student's weights, whatever they were: they change what a rollout is."""
    os.environ.update(ENGINE_SWITCHES)


def name_the_cpu() -> None:
    """Tell accelerate that several processes share the device `cpu`: it says `cpu:0`, which torch.load refuses."""
    os.environ.setdefault("ACCELERATE_TORCH_DEVICE", "cpu")


def quieten_loading() -> None:
    """Hide transformers' bars over weights that are on this disk; those of the hub over downloads stay."""
    from huggingface_hub.utils.tqdm import enable_progress_bars
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    # transformers switches both off together
    enable_progress_bars()


def _keep_freed_memory() -> None:
    """Tell glibc to keep freed memory; a C library without mallopt (musl) is left as it is."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(_M_TOP_PAD, _KEEP_BYTES)
