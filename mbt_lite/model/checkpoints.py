"""Checkpoints of a training run: the newest complete one, and what a kill left half written.

transformers resumes from the highest number even if that folder is partial: without `trainer_state.json` it crashes,
without `optimizer.pt` it silently starts a fresh optimizer. So completeness is checked here, and partial folders are
set aside.
"""

from __future__ import annotations

import json
from pathlib import Path

from mbt_lite.errors import RunError

# Everything a resumed step reads. The trainer writes the state last, but a kill can leave any of them short.
REQUIRED = (
    "adapter_model.safetensors",
    "adapter_config.json",
    "optimizer.pt",
    "scheduler.pt",
    "trainer_state.json",
)
# One for each process; the name of a single one has no number.
RANDOM_STATES = "rng_state*.pth"
PARTIAL = "partial-"


def newest_complete(folder: Path) -> tuple[Path | None, list[Path]]:
    """Find the newest complete checkpoint; rename newer partial ones to `partial-checkpoint-N` and name them.

    Returns the checkpoint (None: start from the beginning) and the new places of what was set aside.
    """
    set_aside: list[Path] = []
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True):
        if is_complete(checkpoint):
            return checkpoint, set_aside
        target = folder / f"{PARTIAL}{checkpoint.name}"
        while target.exists():
            target = target.with_name(target.name + "-again")
        set_aside.append(checkpoint.rename(target))
    return None, set_aside


def step_of(checkpoint: Path) -> int:
    """Read the step from a checkpoint's name; RunError if it has none."""
    number = checkpoint.name.rpartition("-")[2]
    if not number.isdigit():
        raise RunError(f"{checkpoint}: not a checkpoint name (got {checkpoint.name}); move it elsewhere")
    return int(number)


def is_complete(checkpoint: Path) -> bool:
    """Tell whether every file a resume needs is there, and whole as far as its format can tell."""
    random_states = [path.name for path in checkpoint.glob(RANDOM_STATES)]
    if not random_states or any(
        not (checkpoint / name).is_file() or (checkpoint / name).stat().st_size == 0 for name in REQUIRED
    ):
        return False
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        return False
    if state["global_step"] != step_of(checkpoint):
        return False
    return _is_whole_safetensors(checkpoint / "adapter_model.safetensors") and all(
        _is_whole_zip(checkpoint / name) for name in ("optimizer.pt", "scheduler.pt", *random_states)
    )


def _is_whole_safetensors(path: Path) -> bool:
    """Compare the file's size with what its header promises."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            return True
    except SafetensorError:
        return False


def _is_whole_zip(path: Path) -> bool:
    """torch.save writes a zip, whose directory stands at its end."""
    import zipfile

    return zipfile.is_zipfile(path)
