"""Add an adapter to the 16-bit weights of its base, one shard at a time: memory stays near one shard.

The base is read from its own safetensors files, never from 4-bit weights: merging into those rounds the sum to sixteen
levels, and what training added is mostly below that step. Each sum is made in float32 and rounded once. LoRA and rsLoRA
differ in the factor alone (arXiv 2312.03732); DoRA scales each row to its learned length (arXiv 2402.09353).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from mbt_lite.errors import ModelError
from mbt_lite.run_dir import read_json, write_json

INDEX, SINGLE, WEIGHTS = "model.safetensors.index.json", "model.safetensors", "adapter_model.safetensors"
# What peft puts before the module's own name.
PREFIX = "base_model.model."
# adapter_config.json keys that change the sum in ways this file does not know; each has to be empty.
UNKNOWN = (
    "rank_pattern", "alpha_pattern", "modules_to_save", "trainable_token_indices", "fan_in_fan_out", "lora_bias",
    "layer_replication", "target_parameters", "use_qalora", "alora_invocation_tokens",
)  # fmt: skip


@dataclasses.dataclass(slots=True)
class Update:
    """What an adapter does to one weight W [out, in]: down [r, in], up [out, r] with its factor, magnitude [out]."""

    down: Tensor | None = None
    up: Tensor | None = None
    magnitude: Tensor | None = None

    def added_to(self, weight: Tensor) -> Tensor:
        """Give the merged weight in float32. Shapes: [out, in] -> [out, in]."""
        assert self.down is not None
        assert self.up is not None
        merged = weight.float() + self.up @ self.down
        if self.magnitude is not None:
            merged *= (self.magnitude / torch.linalg.norm(merged, dim=1)).unsqueeze(1)
        return merged


def read_updates(adapter: Path) -> dict[str, Update]:
    """Read an adapter folder: name of a base weight -> its update. ModelError for parts that cannot be merged."""
    config = read_json(adapter / "adapter_config.json")
    for key in UNKNOWN:
        if config.get(key):
            raise ModelError(f"{adapter}: `{key}` cannot be merged (got {config[key]}); export with --format adapter")
    rank = config["r"]
    factor = config["lora_alpha"] / (math.sqrt(rank) if config["use_rslora"] else rank)
    updates: dict[str, Update] = {}
    for name, tensor in load_file(adapter / WEIGHTS).items():
        module, _, part = name.removeprefix(PREFIX).rpartition(".lora_")
        update = updates.setdefault(f"{module}.weight", Update())
        if part == "A.weight":
            update.down = tensor.float()
        elif part == "B.weight":
            update.up = factor * tensor.float()
        elif part.startswith("magnitude_vector"):
            update.magnitude = tensor.float()
        else:
            raise ModelError(f"{adapter / WEIGHTS}: {name} cannot be merged; export with --format adapter")
    return updates


def shards(base: Path) -> list[Path]:
    """Give the weight files of a model folder; ModelError if they are no safetensors."""
    if (base / INDEX).is_file():
        return [base / name for name in sorted(set(read_json(base / INDEX)["weight_map"].values()))]
    if (base / SINGLE).is_file():
        return [base / SINGLE]
    raise ModelError(f"{base}: no safetensors weights (neither {INDEX} nor {SINGLE}); save the model as safetensors")


def merged_dtype(dtype: torch.dtype) -> torch.dtype:
    """Give the 16-bit type of a merged tensor: float16 stays, wider floats become bfloat16, integers stay."""
    return torch.bfloat16 if dtype in (torch.float32, torch.float64) else dtype


def merged_bytes(base: Path) -> int:
    """Count the bytes of the merged weights from the headers of the base's files."""
    total = 0
    for shard in shards(base):
        with safe_open(shard, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                piece = file.get_slice(name)
                # a slice tells its type by name only
                width = {"F64": 2, "F32": 2, "F16": 2, "BF16": 2}.get(piece.get_dtype(), 8)
                total += math.prod(piece.get_shape()) * width
    return total


def merge_shards(base: Path, adapter: Path, folder: Path, advance: Callable[[], None]) -> None:
    """Write the base's weights with the adapter added, under the base's file names; `advance` is called per shard.

    Raises ModelError if the base is quantized, or if part of the adapter has no weight in it.
    """
    updates = read_updates(adapter)
    files, total = shards(base), 0
    for shard in files:
        tensors = {name: _merged(name, tensor, updates, shard) for name, tensor in load_file(shard).items()}
        total += sum(tensor.nbytes for tensor in tensors.values())
        save_file(tensors, folder / shard.name, metadata={"format": "pt"})
        del tensors
        advance()
    if updates:
        raise ModelError(
            f"{adapter}: {len(updates)} of its weights are not in {base} (first: {min(updates)}); "
            "that base stores them under other names: export with --format adapter"
        )
    if (base / INDEX).is_file():
        index = read_json(base / INDEX)
        write_json(folder / INDEX, index | {"metadata": index.get("metadata", {}) | {"total_size": total}})


def _merged(name: str, tensor: Tensor, updates: dict[str, Update], shard: Path) -> Tensor:
    """Give one tensor as it is saved, taking its update out of `updates`."""
    update = updates.pop(name, None)
    if update is None:
        return tensor.to(merged_dtype(tensor.dtype))
    if not tensor.is_floating_point() or tensor.itemsize < 2:
        raise ModelError(f"{shard}: {name} is quantized ({tensor.dtype}); merge into the 16-bit original of the model")
    return update.added_to(tensor).to(merged_dtype(tensor.dtype)).contiguous()


def write_settings(base: Path, adapter: Path, folder: Path, stop_ids: list[int]) -> None:
    """Write what stands beside the weights: config (16-bit), generation settings that stop, tokenizer, template."""
    config: dict[str, Any] = read_json(base / "config.json")
    with safe_open(shards(base)[0], framework="pt") as file:
        first: Tensor = file.get_tensor(next(iter(file.keys())))
    config.pop("torch_dtype", None)
    write_json(folder / "config.json", config | {"dtype": str(merged_dtype(first.dtype)).removeprefix("torch.")})
    generation = base / "generation_config.json"
    settings = read_json(generation) if generation.is_file() else {}
    write_json(folder / "generation_config.json", settings | {"eos_token_id": stop_ids})
    copy_tokenizer(adapter, folder)


def copy_tokenizer(adapter: Path, folder: Path) -> None:
    """Copy what the adapter folder holds besides the adapter: the tokenizer and its template, as trained."""
    for path in sorted(adapter.iterdir()):
        if path.is_file() and path.name not in (WEIGHTS, "adapter_config.json", "README.md"):
            (folder / path.name).write_bytes(path.read_bytes())
