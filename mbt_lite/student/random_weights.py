"""`random:qwen3-4b`: a folder with the real architecture, the real vocabulary size and random weights.

What a step needs in memory and time does not depend on what the weights are, so a plan can be measured and a GPU
benched without a model hub. The folder is written once into the user's cache and then loaded like any other, by every
backend, so that loading is measured too. All layers share one draw of numbers, which makes writing fast; the seed is
fixed. The tokenizer is the embedded student's, the smallest that is at hand: its ids are below every known vocabulary.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from mbt_lite.architecture.families import EMBEDDED_NAME, EMBEDDED_PREFIX, KNOWN, RANDOM_PREFIX, SLIDING_PERIOD
from mbt_lite.architecture.numbers import Architecture
from mbt_lite.errors import ModelError
from mbt_lite.files import whole_folder
from mbt_lite.student.embedded import cache_root, embedded_folder

SEED = 0
_STANDARD_DEVIATION = 0.02
# A change of what is written changes this, so that an old cache is not taken for a new one.
WRITING = "1"


def random_folder(name: str) -> Path:
    """Give the folder of a random model, writing it first if the cache has none.

    Raises ModelError for an unknown architecture, a missing tokenizer, or a disk without room for it.
    """
    short = name.removeprefix(RANDOM_PREFIX)
    if short not in KNOWN:
        raise ModelError(f"model.name: unknown architecture (got {name}); those there are: {', '.join(KNOWN)}")
    folder = cache_root() / f"random-{short}-{WRITING}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            needed, free = 2 * KNOWN[short].parameters, shutil.disk_usage(folder.parent).free
            if needed > free:
                raise ModelError(
                    f"{folder.parent}: no room for {name} ({needed / 1e9:.1f} GB, free {free / 1e9:.1f} GB); "
                    "point XDG_CACHE_HOME to another disk"
                )
            print(f"{name}: writing {needed / 1e9:.1f} GB once into {folder}", file=sys.stderr, flush=True)
            with whole_folder(folder) as beside:
                write_random_model(KNOWN[short], beside)
    return folder


def write_random_model(architecture: Architecture, folder: Path) -> None:
    """Write configuration, weights (bfloat16, a file a layer) and tokenizer into a folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = to_config(architecture)
    with torch.device("meta"):
        shapes = {
            key: tuple(value.shape) for key, value in AutoModelForCausalLM.from_config(config).state_dict().items()
        }
    if architecture.is_tied:
        del shapes["lm_head.weight"]
    tokenizer: Any = AutoTokenizer.from_pretrained(embedded_folder(EMBEDDED_PREFIX + EMBEDDED_NAME))
    folder.mkdir(parents=True, exist_ok=True)
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _write_weights(shapes, folder)


def to_config(architecture: Architecture) -> Any:
    """Map an architecture to transformers' configuration of its family."""
    from transformers import AutoConfig

    family: dict[str, Any] = {}
    if architecture.family == "gemma3_text":
        family["layer_types"] = [
            "sliding_attention" if (layer + 1) % SLIDING_PERIOD else "full_attention"
            for layer in range(architecture.layers)
        ]
        family["sliding_window"] = architecture.sliding_window
    elif architecture.family != "qwen2":
        family["attention_bias"] = architecture.has_attention_bias
    return AutoConfig.for_model(
        architecture.family,
        num_hidden_layers=architecture.layers,
        hidden_size=architecture.hidden,
        intermediate_size=architecture.intermediate,
        num_attention_heads=architecture.heads,
        num_key_value_heads=architecture.kv_heads,
        head_dim=architecture.head_size,
        vocab_size=architecture.vocabulary,
        tie_word_embeddings=architecture.is_tied,
        max_position_embeddings=32768,
        dtype="bfloat16",
        architectures=None,
        **family,
    )


def _write_weights(shapes: dict[str, tuple[int, ...]], folder: Path) -> None:
    """Write one file a layer and the index that names them; equal shapes get equal numbers."""
    import torch
    from safetensors.torch import save_file

    drawn: dict[tuple[int, ...], torch.Tensor] = {}
    files: dict[str, list[str]] = {}
    for key in shapes:
        part = key.split(".layers.")[1].partition(".")[0] if ".layers." in key else "rest"
        files.setdefault(f"model-{part}.safetensors", []).append(key)
    for file, keys in files.items():
        tensors = {key: _numbers(key, shapes[key], drawn) for key in keys}
        save_file(tensors, folder / file, metadata={"format": "pt"})
    total = sum(2 * torch.Size(shape).numel() for shape in shapes.values())
    index = {
        "metadata": {"total_size": total},
        "weight_map": {key: file for file, keys in files.items() for key in keys},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")


def _numbers(key: str, shape: tuple[int, ...], drawn: dict[tuple[int, ...], Any]) -> Any:
    """Give random numbers for a matrix, zeros for a bias, ones for a norm."""
    import torch

    if len(shape) == 1:
        return torch.zeros(shape, dtype=torch.bfloat16) if "bias" in key else torch.ones(shape, dtype=torch.bfloat16)
    if shape not in drawn:
        generator = torch.Generator().manual_seed(SEED)
        drawn[shape] = (torch.randn(shape, generator=generator) * _STANDARD_DEVIATION).bfloat16()
    return drawn[shape].clone()
