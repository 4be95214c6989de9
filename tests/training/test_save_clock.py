import os
import types
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

from mbt_lite.training.save_clock import KEPT_CHECKPOINTS, KeepNewest, SaveByMinutes

ALONE = types.SimpleNamespace(world_size=1)


def test_save_by_minutes_asks_after_the_first_step_that_is_late_enough() -> None:
    now = 0.0
    clock = SaveByMinutes(2.0, lambda: now)

    def step_ends_at(seconds: float) -> bool:
        nonlocal now
        now = seconds
        control = types.SimpleNamespace(should_save=False)
        clock.on_step_end(ALONE, None, control)
        return control.should_save

    now = 1000.0
    clock.on_train_begin(None, None, None)
    assert [step_ends_at(1000 + seconds) for seconds in (60, 119.9, 120, 130)] == [False, False, True, True]
    # a save by steps counts too, from when it is on disk
    now = 1135.0
    clock.on_save(None, None, None)
    assert [step_ends_at(1135 + seconds) for seconds in (119, 121)] == [False, True]


def test_save_by_minutes_leaves_a_save_by_steps_alone() -> None:
    control = types.SimpleNamespace(should_save=True)
    SaveByMinutes(9.0, lambda: 0.0).on_step_end(ALONE, None, control)
    assert control.should_save


def save(folder: Path, step: int, time: float, leads: bool = True) -> None:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir()
    os.utime(checkpoint, (time, time))
    state = types.SimpleNamespace(is_world_process_zero=leads)
    KeepNewest().on_save(types.SimpleNamespace(output_dir=str(folder)), state, None)


def test_keep_newest_goes_by_the_step_when_the_clock_was_set_back(tmp_path: Path) -> None:
    (tmp_path / "partial-checkpoint-3").mkdir()
    for step, time in ((8, 9000.0), (9, 9001.0), (10, 10.0), (11, 11.0)):
        save(tmp_path, step, time)
    assert KEPT_CHECKPOINTS == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-10",
        "checkpoint-11",
        "partial-checkpoint-3",
    ]


def test_keep_newest_leaves_deleting_to_one_process(tmp_path: Path) -> None:
    for step in range(4):
        save(tmp_path, step, 1.0, leads=False)
    assert len(list(tmp_path.iterdir())) == 4
