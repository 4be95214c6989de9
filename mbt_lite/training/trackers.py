"""Training's numbers in tensorboard, trackio or wandb: the rows of metrics.jsonl, under the same names.

Written against the three packages themselves: transformers' own callbacks rename every key and repeat the steps of a
resumed run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mbt_lite.errors import ModelError
from mbt_lite.files import read_json, write_json
from mbt_lite.launch import read_launch
from mbt_lite.recipe import resolved
from mbt_lite.recipe.schema import Recipe

PROJECT = "mbt-lite"
# (values, step) of one row of metrics.jsonl
Track = Callable[[Mapping[str, float], int], None]


def check_tracker(name: str) -> None:
    """Raise ModelError if the tracker of a recipe is not installed."""
    if name != "none" and importlib.util.find_spec(name) is None:
        raise ModelError(
            f"tracking.tracker: {name} is not installed; pip install {name}, or set `tracking.tracker` to none"
        )


@contextlib.contextmanager
def tracking(recipe: Recipe, folder: Path, step: int) -> Iterator[Track]:
    """Lend a function that sends a row to the recipe's tracker; `step` is the one a run goes on from, 0 for a new one.

    Of several processes only the leader sends. Raises ModelError if the tracker cannot start (no login, no network).
    """
    name = recipe.tracking.tracker
    if name == "none" or not read_launch().leads:
        yield lambda values, step: None
        return
    try:
        track, finish = _open(name, folder, step, resolved(recipe))
    except Exception as error:
        # another package's start: its errors have no common class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"tracking.tracker: {name} cannot start ({reason}); mend it, or set `tracking.tracker` to none"
        ) from error
    try:
        yield track
    finally:
        finish()


def _open(name: str, folder: Path, step: int, recipe: Mapping[str, Any]) -> tuple[Track, Callable[[], object]]:
    """Start a tracker; give how to send a row, and how to end."""
    if name == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        # steps that a kill undid are struck out
        writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

        def write(values: Mapping[str, float], step: int) -> None:
            for key, value in values.items():
                writer.add_scalar(key, value, step)
            writer.flush()

        return write, writer.close
    # wandb and trackio have one interface
    package: Any = importlib.import_module(name)
    settings: dict[str, Any] = {"resume": "allow", "config": dict(recipe), "group": folder.parent.name}
    if name == "wandb":
        settings |= {"id": _run_id(folder), "name": _run_name(folder), "dir": str(folder)}
    else:
        # trackio knows a run by its name
        settings |= {"name": f"{_run_name(folder)}-{_run_id(folder)}"}
    run = package.init(project=PROJECT, **settings)
    return (lambda values, step: run.log(dict(values), step=step)), run.finish


def _run_name(folder: Path) -> str:
    return f"{folder.parent.name}-{folder.name}"


def _run_id(folder: Path) -> str:
    """Give this stage's run a name of its own that a resumed run finds again, and one done anew does not."""
    path = folder / "tracker.json"
    if not path.exists():
        write_json(path, {"run_id": uuid.uuid4().hex[:12]})
    return str(read_json(path, run_id=str)["run_id"])
