"""Each tracker as far as it runs without a network: what was sent is read back by its own package."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

from mbt_lite.errors import ModelError
from mbt_lite.recipe.schema import Data, Model, Questions, Recipe, Tracking
from mbt_lite.training.trackers import check_tracker, tracking

ROOT = Path(__file__).parents[2]


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs the tracker: pip install {package}")


def recipe(tracker: str) -> Recipe:
    data = Data(train=Questions(path="a"), dev=Questions(path="b"))
    return Recipe(model=Model(name="tiny"), data=data, tracking=Tracking(tracker=tracker))


def send_two_lives(recipe: Recipe, folder: Path) -> None:
    """Send two steps, and after a kill the second anew from the checkpoint after the first."""
    for first, last in ((1, 2), (2, 3)):
        with tracking(recipe, folder, first - 1) as track:
            for step in range(first, last + 1):
                track({"loss": 10.0 / step, "speed/tokens_per_second": 7.0}, step)


def in_own_process(code: str, *arguments: str, **environment: str) -> str:
    """Run code beside this file: these trackers start servers and register what runs at exit."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); {code}"
    environment = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def send(tracker: str, folder: Path, **environment: str) -> None:
    folder.mkdir(parents=True)
    code = (
        "from pathlib import Path; from test_trackers import recipe, send_two_lives; "
        "send_two_lives(recipe(sys.argv[1]), Path(sys.argv[2]))"
    )
    in_own_process(code, tracker, str(folder), **environment)


def test_tensorboard_has_every_step_once_after_a_resume(tmp_path: Path) -> None:
    needs("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    send_two_lives(recipe("tensorboard"), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    curves = {key: [(event.step, event.value) for event in events.Scalars(key)] for key in events.Tags()["scalars"]}
    assert curves["loss"] == [(1, 10.0), (2, 5.0), (3, pytest.approx(10 / 3))]
    assert curves["speed/tokens_per_second"] == [(1, 7.0), (2, 7.0), (3, 7.0)]


def test_wandb_writes_one_run_offline(tmp_path: Path) -> None:
    needs("wandb")
    folder = tmp_path / "demo" / "sft"
    send("wandb", folder, WANDB_MODE="offline", WANDB_SILENT="true")
    identity = json.loads((folder / "tracker.json").read_text())["run_id"]
    # a life each, of one run: syncing joins them
    files = list((folder / "wandb").glob(f"offline-run-*-{identity}/run-{identity}.wandb"))
    assert files
    content = b"".join(path.read_bytes() for path in files)
    assert b"speed/tokens_per_second" in content
    assert b"demo-sft" in content


def test_trackio_keeps_one_run_locally(tmp_path: Path) -> None:
    needs("trackio")
    folder = tmp_path / "demo" / "sft"
    send("trackio", folder, TRACKIO_DIR=str(tmp_path / "trackio"), HF_HOME=str(tmp_path / "hub"), HF_HUB_OFFLINE="1")
    read = (
        "import json; from trackio.sqlite_storage import SQLiteStorage as Storage; "
        "print(json.dumps({run: Storage.get_logs('mbt-lite', run) for run in Storage.get_runs('mbt-lite')}))"
    )
    said = in_own_process(read, TRACKIO_DIR=str(tmp_path / "trackio"), HF_HUB_OFFLINE="1")
    [(name, rows)] = json.loads(said.splitlines()[-1]).items()
    assert name.startswith("demo-sft-")
    assert {row["step"]: row["loss"] for row in rows if "loss" in row} == {1: 10.0, 2: 5.0, 3: pytest.approx(10 / 3)}


def test_check_tracker_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError) as caught:
        check_tracker("wandb")
    assert str(caught.value) == (
        "tracking.tracker: wandb is not installed; pip install wandb, or set `tracking.tracker` to none"
    )
    check_tracker("none")


def test_tracking_without_a_tracker_writes_nothing(tmp_path: Path) -> None:
    with tracking(recipe("none"), tmp_path, 0) as track:
        track({"loss": 1.0}, 1)
    assert list(tmp_path.iterdir()) == []


def test_tracking_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    needs("tensorboard")
    (tmp_path / "tensorboard").write_text("a file where a folder is to be")
    message = r"^tracking.tracker: tensorboard cannot start \(.+\); mend it, or set"
    with pytest.raises(ModelError, match=message), tracking(recipe("tensorboard"), tmp_path, 0):
        pytest.fail("it started")
