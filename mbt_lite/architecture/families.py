"""The architectures that are known by name: for planning without a hub, and for `random:` models.

The numbers are those of each model's own config.json. `HUB_IDS` lists the repositories that share them to the letter;
any other name is looked up, never guessed from its prefix.
"""

from __future__ import annotations

from mbt_lite.architecture.numbers import Architecture, Family

EMBEDDED_PREFIX = "embedded:"
RANDOM_PREFIX = "random:"
EMBEDDED_NAME = "smollm2-135m"
# In Gemma 3 every sixth layer has full attention.
SLIDING_PERIOD = 6


def _known(
    family: Family, layers: int, hidden: int, inner: int, heads: str, head_size: int, vocabulary: int, tied: bool
) -> Architecture:
    queries, _, keys = heads.partition("/")
    return Architecture(family, layers, hidden, inner, int(queries), int(keys), head_size, vocabulary, tied)


def _gemma(layers: int, hidden: int, inner: int, heads: str, vocabulary: int, window: int) -> Architecture:
    queries, _, keys = heads.partition("/")
    sizes = (layers, hidden, inner, int(queries), int(keys), 256, vocabulary, True, False)
    return Architecture("gemma3_text", *sizes, window, layers - layers // SLIDING_PERIOD)


KNOWN: dict[str, Architecture] = {
    "smollm2-135m": _known("llama", 30, 576, 1536, "9/3", 64, 49152, True),
    "smollm2-360m": _known("llama", 32, 960, 2560, "15/5", 64, 49152, True),
    "smollm2-1.7b": _known("llama", 24, 2048, 8192, "32/32", 64, 49152, True),
    "qwen3-0.6b": _known("qwen3", 28, 1024, 3072, "16/8", 128, 151936, True),
    "qwen3-1.7b": _known("qwen3", 28, 2048, 6144, "16/8", 128, 151936, True),
    "qwen3-4b": _known("qwen3", 36, 2560, 9728, "32/8", 128, 151936, True),
    "qwen3-8b": _known("qwen3", 36, 4096, 12288, "32/8", 128, 151936, False),
    "qwen3-14b": _known("qwen3", 40, 5120, 17408, "40/8", 128, 151936, False),
    "qwen2.5-0.5b": _known("qwen2", 24, 896, 4864, "14/2", 64, 151936, True),
    "qwen2.5-1.5b": _known("qwen2", 28, 1536, 8960, "12/2", 128, 151936, True),
    "qwen2.5-3b": _known("qwen2", 36, 2048, 11008, "16/2", 128, 151936, True),
    "qwen2.5-7b": _known("qwen2", 28, 3584, 18944, "28/4", 128, 152064, False),
    "qwen2.5-14b": _known("qwen2", 48, 5120, 13824, "40/8", 128, 152064, False),
    "llama-3.2-1b": _known("llama", 16, 2048, 8192, "32/8", 64, 128256, True),
    "llama-3.2-3b": _known("llama", 28, 3072, 8192, "24/8", 128, 128256, True),
    "llama-3.1-8b": _known("llama", 32, 4096, 14336, "32/8", 128, 128256, False),
    "gemma-3-1b": _gemma(26, 1152, 6912, "4/1", 262144, 512),
    # the text part alone
    "gemma-3-4b": _gemma(34, 2560, 10240, "8/4", 262208, 1024),
}

HUB_IDS: dict[str, tuple[str, ...]] = {
    "smollm2-135m": ("HuggingFaceTB/SmolLM2-135M-Instruct",),
    "smollm2-360m": ("HuggingFaceTB/SmolLM2-360M-Instruct",),
    "smollm2-1.7b": ("HuggingFaceTB/SmolLM2-1.7B-Instruct",),
    "qwen3-0.6b": ("Qwen/Qwen3-0.6B",),
    "qwen3-1.7b": ("Qwen/Qwen3-1.7B",),
    "qwen3-4b": ("Qwen/Qwen3-4B", "Qwen/Qwen3-4B-Instruct-2507", "Qwen/Qwen3-4B-Thinking-2507"),
    "qwen3-8b": ("Qwen/Qwen3-8B",),
    "qwen3-14b": ("Qwen/Qwen3-14B",),
    "qwen2.5-0.5b": ("Qwen/Qwen2.5-0.5B-Instruct",),
    "qwen2.5-1.5b": ("Qwen/Qwen2.5-1.5B-Instruct",),
    "qwen2.5-3b": ("Qwen/Qwen2.5-3B-Instruct",),
    "qwen2.5-7b": ("Qwen/Qwen2.5-7B-Instruct",),
    "qwen2.5-14b": ("Qwen/Qwen2.5-14B-Instruct",),
    "llama-3.2-1b": ("meta-llama/Llama-3.2-1B-Instruct",),
    "llama-3.2-3b": ("meta-llama/Llama-3.2-3B-Instruct",),
    "llama-3.1-8b": ("meta-llama/Llama-3.1-8B-Instruct",),
    "gemma-3-1b": ("google/gemma-3-1b-it",),
}


def known_name(name: str) -> str | None:
    """Give the short name of a `model.name` that needs no file: embedded, random, or a listed hub id; else None."""
    for prefix in (EMBEDDED_PREFIX, RANDOM_PREFIX):
        if name.startswith(prefix):
            short = name.removeprefix(prefix)
            return short if short in KNOWN else None
    return next((short for short, ids in HUB_IDS.items() if name in ids), None)


def known_architecture(name: str) -> Architecture | None:
    """Give the architecture of a `model.name` that needs no file; else None."""
    short = known_name(name)
    return None if short is None else KNOWN[short]
