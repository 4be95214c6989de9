"""Checkpoints of a training run: the newest complete one, and what a kill left half written.

transformers resumes from the highest number even if that folder is partial: without `trainer_state.json` it crashes,
without `optimizer.pt` it silently starts a fresh optimizer. So completeness is checked here, with the checksums that
there are, and partial folders are set aside.
"""

from __future__ import annotations

import errno
import pickle
import zipfile
import zlib
from pathlib import Path

from mbt_lite.console import Screen
from mbt_lite.errors import DataError, RunError
from mbt_lite.files import read_json

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


def resume_point(folder: Path, stage: str, console: Screen) -> Path | None:
    """Choose the checkpoint a stage goes on from and say so, and what was set aside; None: from the beginning."""
    checkpoint, set_aside = newest_complete(folder / "checkpoints")
    for partial in set_aside:
        said = f"{stage}: a kill left a partial checkpoint; set aside as {partial}"
        console.print(said, soft_wrap=True)
    if checkpoint is not None:
        console.print(f"{stage}: going on from {checkpoint}", soft_wrap=True)
    return checkpoint


def newest_complete(folder: Path) -> tuple[Path | None, list[Path]]:
    """Find the newest complete checkpoint; rename newer partial ones to `partial-checkpoint-N` and name them.

    Returns the checkpoint (None: start from the beginning) and the new places of what was set aside.
    """
    newest = find_newest_complete(folder)
    set_aside: list[Path] = []
    for checkpoint in newest_first(folder):
        if checkpoint == newest:
            break
        target = folder / f"{PARTIAL}{checkpoint.name}"
        while target.exists():
            target = target.with_name(target.name + "-again")
        set_aside.append(checkpoint.rename(target))
    return newest, set_aside


def find_newest_complete(folder: Path) -> Path | None:
    """Find the newest complete checkpoint, changing nothing."""
    return next((checkpoint for checkpoint in newest_first(folder) if is_complete(checkpoint)), None)


def newest_first(folder: Path) -> list[Path]:
    """Give the checkpoints of a folder by falling step, complete or not."""
    return sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    """Read the step from a checkpoint's name; RunError if it has none."""
    number = checkpoint.name.rpartition("-")[2]
    if not number.isdigit():
        raise RunError(f"{checkpoint}: not a checkpoint name (got {checkpoint.name}); move it elsewhere")
    return int(number)


def is_complete(checkpoint: Path) -> bool:
    """Tell whether every file a resume needs is there, and whole as far as its format can tell."""
    if not any(checkpoint.glob(RANDOM_STATES)) or not all((checkpoint / name).is_file() for name in REQUIRED):
        return False
    try:
        read_json(checkpoint / "adapter_config.json")
        state = read_json(checkpoint / "trainer_state.json", global_step=int)
    except DataError:
        return False
    if state["global_step"] != step_of(checkpoint):
        return False
    # the loss scale of float16 too
    written_by_torch = (*checkpoint.glob("*.pt"), *checkpoint.glob(RANDOM_STATES))
    return _is_whole_safetensors(checkpoint / "adapter_model.safetensors") and all(
        map(_is_whole_archive, written_by_torch)
    )


def _is_whole_safetensors(path: Path) -> bool:
    """Compare the file's size with what its header promises."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            return True
    except SafetensorError:
        return False


def _is_whole_archive(path: Path) -> bool:
    """torch.save writes a zip: its directory stands at the end, and each entry has a checksum."""
    import torch
    from transformers.trainer_pt_utils import safe_globals

    with path.open("rb") as file:
        # where it does not begin as one, zipfile looks for it further on and torch reads a pickle
        if file.read(4) != b"PK\x03\x04":
            return False
        try:
            with zipfile.ZipFile(file) as archive:
                if archive.testzip() is not None:
                    return False
            # the directory holds more than zipfile looks at; tensors are not read again
            with safe_globals():
                torch.load(path, map_location="meta", weights_only=True)
        # a damaged directory may name other bytes, methods, versions or lengths than these know
        except (zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, EOFError, RuntimeError, ValueError):
            return False
        except OSError as error:
            # or a place before the file; anything else is the machine's
            if error.errno != errno.EINVAL:
                raise
            return False
    return True
