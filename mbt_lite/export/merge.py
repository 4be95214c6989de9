"""Add an adapter to the weights of its base, one tensor at a time: memory stays below one shard.

The base is read from its own safetensors files; a `Rounding` gives each weight the numbers that a 4-bit student was
trained around. The sum is never packed again: its sixteen levels are coarser than most of what training added. Each sum
is made in float32 and rounded once. LoRA and rsLoRA differ in the factor alone (arXiv 2312.03732); DoRA scales each row
to its learned length (arXiv 2402.09353).
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from mbt_lite.errors import ModelError
from mbt_lite.export.rounding import Rounding
from mbt_lite.files import read_json, write_json

INDEX, SINGLE, WEIGHTS = "model.safetensors.index.json", "model.safetensors", "adapter_model.safetensors"
# What safetensors calls the types of weights, and of what may stand beside them.
_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
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
    config = read_json(adapter / "adapter_config.json", r=int, lora_alpha=int | float, use_rslora=bool)
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
        return [base / name for name in sorted(set(read_json(base / INDEX, weight_map=dict)["weight_map"].values()))]
    if (base / SINGLE).is_file():
        return [base / SINGLE]
    raise ModelError(f"{base}: no safetensors weights (neither {INDEX} nor {SINGLE}); save the model as safetensors")


def _merged_dtype(dtype: torch.dtype) -> torch.dtype:
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


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """What becomes of a base's weights: the rounding they were trained around, if one; the type they are saved in.

    Without a type it is 16 bits of the base's own kind (see `_merged_dtype`).
    """

    rounding: Rounding | None = None
    dtype: torch.dtype | None = None

    def read(self, name: str, weight: Tensor) -> Tensor:
        """Give a weight of the base as the adapter found it."""
        return (
            weight if self.rounding is None or not weight.is_floating_point() else self.rounding.applied(name, weight)
        )

    def saved_as(self, dtype: torch.dtype) -> torch.dtype:
        """Give the type in which a tensor is saved that has this one in the base."""
        return self.dtype if self.dtype is not None and dtype.is_floating_point else _merged_dtype(dtype)


def merge_shards(base: Path, adapter: Path, folder: Path, kept: Kept, advance: Callable[[], None]) -> None:
    """Write the base's weights with the adapter added, under the base's file names; `advance` is called per shard.

    Raises ModelError if the base is quantized, if part of the adapter or of the rounding has no weight in it, or if a
    sum is too large for its type.
    """
    updates = read_updates(adapter)
    rounded = set(kept.rounding.packed) if kept.rounding is not None else set()
    total = 0
    for shard in shards(base):
        with safe_open(shard, framework="pt") as file, (folder / shard.name).open("wb") as merged:
            header = _header(file, kept)
            merged.write(header.encoded())
            for name in header.entries:
                tensor = _merged(name, file.get_tensor(name), updates.pop(name, None), kept, shard)
                merged.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
                rounded.discard(name)
        total += header.total
        advance()
    if left := {*updates, *rounded}:
        raise ModelError(
            f"{adapter}: {len(left)} of its weights are not in {base} (first: {min(left)}); "
            "that base stores them under other names: export with --format adapter"
        )
    if (base / INDEX).is_file():
        index = read_json(base / INDEX)
        write_json(folder / INDEX, index | {"metadata": index.get("metadata", {}) | {"total_size": total}})


@dataclasses.dataclass(slots=True)
class _Header:
    """The head of a safetensors file: type, shape and place of each tensor, in the order in which they are written."""

    entries: dict[str, dict[str, Any]]
    total: int = 0

    def add(self, name: str, kind: str, shape: list[int], size: int) -> None:
        """Place a tensor of so many bytes behind those before it."""
        self.entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [self.total, self.total + size]}
        self.total += size

    def encoded(self) -> bytes:
        """Give the bytes before the first tensor; the format wants them to end at a multiple of eight."""
        text = json.dumps({"__metadata__": {"format": "pt"}} | self.entries).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text


def _header(file: Any, kept: Kept) -> _Header:
    """Foresee a shard as it will be saved, wide types first, so that each tensor begins at a multiple of its width."""
    header, found = _Header({}), []
    for name in file.keys():  # noqa: SIM118 (no mapping)
        piece = file.get_slice(name)
        saved = kept.saved_as(_TYPES[piece.get_dtype()])
        kind = next(kind for kind, dtype in _TYPES.items() if dtype == saved)
        found.append((-saved.itemsize, name, kind, piece.get_shape()))
    for width, name, kind, shape in sorted(found):
        header.add(name, kind, shape, -width * math.prod(shape))
    return header


def _merged(name: str, tensor: Tensor, update: Update | None, kept: Kept, shard: Path) -> Tensor:
    """Give one tensor as it is saved."""
    wanted = kept.saved_as(tensor.dtype)
    if update is not None and (not tensor.is_floating_point() or tensor.itemsize < 2):
        raise ModelError(f"{shard}: {name} is quantized ({tensor.dtype}); merge into the 16-bit original of the model")
    read = kept.read(name, tensor)
    saved = (read if update is None else update.added_to(read)).to(wanted).contiguous()
    if wanted == torch.float16 and not saved.isfinite().all():
        raise ModelError(f"{shard}: {name} does not fit into float16 (got {read.abs().max():g}); use --format merged")
    return saved


def write_settings(base: Path, adapter: Path, folder: Path, kept: Kept, stop_ids: list[int]) -> None:
    """Write what stands beside the weights: config (16-bit), generation settings that stop, tokenizer, template."""
    config: dict[str, Any] = read_json(base / "config.json")
    with safe_open(shards(base)[0], framework="pt") as file:
        first: Tensor = file.get_tensor(next(iter(file.keys())))
    config.pop("torch_dtype", None)
    write_json(folder / "config.json", config | {"dtype": str(kept.saved_as(first.dtype)).removeprefix("torch.")})
    generation = base / "generation_config.json"
    settings = read_json(generation) if generation.is_file() else {}
    write_json(folder / "generation_config.json", settings | {"eos_token_id": stop_ids})
    copy_tokenizer(adapter, folder)


def copy_tokenizer(adapter: Path, folder: Path) -> None:
    """Copy what the adapter folder holds besides the adapter: the tokenizer and its template, as trained."""
    for path in sorted(adapter.iterdir()):
        if path.is_file() and path.name not in (WEIGHTS, "adapter_config.json", "README.md"):
            (folder / path.name).write_bytes(path.read_bytes())
