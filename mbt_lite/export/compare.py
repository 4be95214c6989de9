"""Hold logits against logits: the adapter on its 16-bit base, the merged model read back, the 4-bit student.

A wrong merge is silent: the model still writes fluently. So the merged folder is loaded again by plain transformers and
read on rows of the run beside what it should be: the student that was trained, or the 16-bit base with the adapter
loaded by plain peft. Rounding a sum to 16 bits moves logits a little, a wrong merge moves them as much as the adapter
itself does; the limit lies between.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mbt_lite.errors import ModelError
from mbt_lite.export import Base
from mbt_lite.recipe import schema
from mbt_lite.student.loading import load_student

# Of each row the last positions are read: logits are as wide as the vocabulary.
_POSITIONS = 128
# Up to this size of the 16-bit weights the reading is done in float32; beyond, memory counts more than exact figures.
_FLOAT32_BYTES = 2 << 30
# The merged model may differ by this share of what the adapter does, and by this share of the logits' own spread.
OF_EFFECT, OF_SPREAD = 0.25, 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Agreement:
    """Two readings of the same positions: root mean squares and the maximum are in logits, `same_token` is a share.

    `effect` is what the adapter does to the base, `spread` the standard deviation of the logits over the vocabulary.
    """

    largest: float
    mean: float
    same_token: float
    effect: float
    spread: float
    positions: int

    @property
    def holds(self) -> bool:
        """Whether the difference is rounding and not another model."""
        return self.mean <= max(OF_EFFECT * self.effect, OF_SPREAD * self.spread)

    def __str__(self) -> str:
        return (
            f"max abs difference {self.largest:.4f}, rms {self.mean:.4f} (the adapter's effect: {self.effect:.4f}), "
            f"same most likely token at {self.same_token:.1%} of {self.positions} positions"
        )


def agreement(wanted: Tensor, found: Tensor, without: Tensor) -> Agreement:
    """Compare logits `found` with `wanted`; `without` are the base's. Shapes: [N, V] each."""
    difference = found - wanted
    return Agreement(
        largest=difference.abs().max().item(),
        mean=_rms(difference),
        same_token=(found.argmax(dim=1) == wanted.argmax(dim=1)).float().mean().item(),
        effect=_rms(wanted - without),
        spread=wanted.std(dim=1).mean().item(),
        positions=len(wanted),
    )


def compare(
    model: schema.Model,
    chosen: Base,
    base: Path,
    adapter: Path,
    merged: Path,
    rows: Sequence[Sequence[int]],
    merged_bytes: int,
) -> tuple[Agreement, Agreement | None]:
    """Read rows of token ids with each model; give merged against base + adapter, and against a 4-bit student.

    The second is none for a student that was not trained in 4 bits. Raises ModelError if the merged model is not the
    one on the chosen base.
    """
    dtype: Any = torch.float32 if merged_bytes <= _FLOAT32_BYTES else "auto"
    without, wanted = _read_with_peft(base, adapter, rows, dtype)
    with _loaded(merged, dtype) as plain:
        found = _read(plain, rows)
    original, packed = agreement(wanted, found, without), None
    if model.quantization != "none":
        # unsloth would patch the libraries that were just compared
        student = load_student(model.model_copy(update={"backend": "transformers"}), adapter)
        packed = agreement(_read(student.model, rows), found, without)
    held = packed if packed is not None and chosen == "trained" else original
    if not held.holds:
        raise ModelError(f"{merged}: the merged model is not the adapter on its base ({held}); report this as a bug")
    return original, packed


def _read_with_peft(base: Path, adapter: Path, rows: Sequence[Sequence[int]], dtype: Any) -> tuple[Tensor, Tensor]:
    """Read with the base alone, and with the adapter on it."""
    from peft import PeftModel

    with _loaded(base, dtype) as plain:
        adapted = PeftModel.from_pretrained(plain, str(adapter))
        with adapted.disable_adapter():
            without = _read(adapted, rows)
        return without, _read(adapted, rows)


@contextlib.contextmanager
def _loaded(folder: Path, dtype: Any) -> Iterator[Any]:
    """Lend a model in 16 or 32 bits, and free it afterwards."""
    from transformers import AutoModelForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype)
    yield model.to(device)
    del model
    gc.collect()


@torch.inference_mode()
def _read(model: Any, rows: Sequence[Sequence[int]]) -> Tensor:
    """Give the logits at the last positions of each row, in float32. Shapes: lists of T ids -> [N, V]."""
    model.eval()
    device = next(model.parameters()).device
    read = [
        model(input_ids=torch.tensor([list(row)], device=device), use_cache=False, logits_to_keep=_POSITIONS).logits[0]
        for row in rows
    ]
    return torch.cat(read).float().cpu()


def _rms(values: Tensor) -> float:
    return values.pow(2).mean().sqrt().item()
