"""Which library loads and trains the student, imported before all that it patches.

Free of torch itself: whoever is about to import torch, transformers, trl or peft calls `import_backend` first.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Literal

from mbt_lite.errors import ModelError
from mbt_lite.launch import read_launch
from mbt_lite.student.libraries import prepare

Backend = Literal["transformers", "unsloth"]


def choose_backend(wanted: str) -> Backend:
    """Resolve `model.backend`: unsloth under `auto` needs CUDA, the package, and one process alone.

    Raises ModelError when unsloth is asked for by name and not installed, or in several processes.
    """
    import torch

    alone = read_launch().processes == 1
    there = importlib.util.find_spec("unsloth") is not None
    if wanted == "unsloth" and not there:
        raise ModelError("model.backend: unsloth is not installed; pip install 'mbt-lite[unsloth]' or use transformers")
    if wanted == "unsloth" and not alone:
        raise ModelError("model.backend: unsloth is not tried in several processes; use transformers, or one process")
    if wanted == "unsloth" or (wanted == "auto" and there and alone and torch.cuda.is_available()):
        return "unsloth"
    return "transformers"


def import_backend(wanted: str) -> Backend:
    """Resolve `model.backend`; import unsloth if it is the one: it patches the libraries, so it comes before them."""
    prepare()
    backend = choose_backend(wanted)
    if backend == "unsloth":
        importlib.import_module("unsloth")
    return backend
