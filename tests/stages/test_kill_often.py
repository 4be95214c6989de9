"""A few of the kills of `kill_often`, whose own command makes ten and says what came of each."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

from kill_often import STEPS, kill_often, moments


@pytest.mark.slow
def test_sft_killed_at_random_and_in_a_save_ends_as_if_left_alone(student_folder: Path, tmp_path: Path) -> None:
    outcomes = kill_often(tmp_path, student_folder, kills=2, seed=1)
    assert [outcome.moment.file is not None for outcome in outcomes] == [True, False]
    assert outcomes[0].partial == (f"partial-checkpoint-{outcomes[0].moment.step}",)
    for outcome in outcomes:
        assert outcome.went_on_from <= outcome.last_step
        assert outcome.loss_difference <= 1e-6
        assert outcome.adapter_difference <= 1e-6


def test_moments_are_fixed_by_the_seed_and_four_of_ten_are_in_a_save() -> None:
    drawn = moments(10, 0)
    assert drawn == moments(10, 0) != moments(10, 1)
    assert sum(moment.file is not None for moment in drawn) == 4
    assert all(0 <= moment.step <= STEPS for moment in drawn)
