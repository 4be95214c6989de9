import types

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

from mbt_lite.training.save_clock import SaveByMinutes

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
