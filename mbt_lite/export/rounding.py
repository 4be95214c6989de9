"""The numbers that a 4-bit student was trained around: its weights rounded to nf4 and unpacked again, one at a time.

An adapter that was trained on nf4 has learned the rounding of its base: on the weights before rounding it is another
model. Here each weight takes the road that loading takes (`student.load_student`): cast to the compute precision,
packed, unpacked. Which weights are packed is asked of transformers itself, on a model without numbers.
"""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mbt_lite.recipe import schema
from mbt_lite.student.loading import choose_dtype, quantization_config


@dataclasses.dataclass(frozen=True, slots=True)
class Rounding:
    """What loading in 4 bits does to the weights of a base: all are cast to `dtype`, those in `packed` rounded."""

    packed: frozenset[str]
    dtype: torch.dtype

    def applied(self, name: str, weight: Tensor) -> Tensor:
        """Give a weight as the student computes with it. Shapes: as they are."""
        cast = weight.to(self.dtype)
        return unpacked(cast) if name in self.packed else cast


def rounding_of(model: schema.Model, base: Path) -> Rounding | None:
    """Give the rounding of a student's base, a model folder; None for a student that is not packed."""
    if model.quantization == "none":
        return None
    dtype = choose_dtype(model.dtype)
    return Rounding(_packed_names(base, quantization_config(model, dtype)), dtype)


def _packed_names(base: Path, quantization: Any) -> frozenset[str]:
    """Name the weights that transformers packs of a model folder."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.quantizers.auto import AutoHfQuantizer

    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(str(base)))
    AutoHfQuantizer.from_config(quantization).preprocess_model(model, device_map=None)
    return frozenset(f"{name}.weight" for name, module in model.named_modules() if hasattr(module, "compute_dtype"))


def unpacked(weight: Tensor) -> Tensor:
    """Round a weight as a 4-bit layer holds it, in its own precision. Shapes: [out, in] -> [out, in]."""
    from bitsandbytes.functional import dequantize_4bit

    device = "cuda" if torch.cuda.is_available() else "cpu"
    # the block size is the default of the library that loaded the student
    params: Any = importlib.import_module("bitsandbytes.nn").Params4bit
    packed = params(weight, requires_grad=False, compress_statistics=True, quant_type="nf4").to(device)
    return dequantize_4bit(packed.data, packed.quant_state).cpu()
