import io
import json

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import save_file

from mbt_lite.console import Screen
from mbt_lite.errors import RunError
from mbt_lite.training.checkpoints import (
    REQUIRED,
    find_newest_complete,
    is_complete,
    newest_complete,
    resume_point,
    step_of,
)


def make_checkpoint(folder, step):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    save_file({"w": torch.zeros(4)}, checkpoint / "adapter_model.safetensors")
    (checkpoint / "adapter_config.json").write_text("{}")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"step": step}, checkpoint / name)
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return checkpoint


def test_newest_complete_takes_the_highest_step_as_a_number(tmp_path):
    make_checkpoint(tmp_path, 9)
    newest = make_checkpoint(tmp_path, 10)
    assert newest_complete(tmp_path) == (newest, [])


def test_newest_complete_of_nothing_is_none(tmp_path):
    assert newest_complete(tmp_path / "absent") == (None, [])


@pytest.mark.parametrize("name", [*REQUIRED, "rng_state.pth"])
def test_newest_complete_sets_a_checkpoint_without_a_file_aside(tmp_path, name):
    older, newer = make_checkpoint(tmp_path, 5), make_checkpoint(tmp_path, 10)
    (newer / name).unlink()
    found, set_aside = newest_complete(tmp_path)
    assert found == older
    assert set_aside == [tmp_path / "partial-checkpoint-10"]
    assert not newer.exists()


@pytest.mark.parametrize("name", [*REQUIRED, "rng_state.pth", "scaler.pt"])
def test_is_complete_refuses_a_file_cut_in_half(tmp_path, name):
    checkpoint = make_checkpoint(tmp_path, 3)
    torch.save({"scale": 1.0}, checkpoint / "scaler.pt")
    assert is_complete(checkpoint)
    content = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(content[: len(content) // 2])
    assert not is_complete(checkpoint)


@pytest.mark.parametrize("content", [b"[1]", b'{"global_step": "3"}', b"\0" * 40, b"\xff", b"{}"])
def test_is_complete_refuses_a_state_of_another_form(tmp_path, content):
    checkpoint = make_checkpoint(tmp_path, 3)
    (checkpoint / "trainer_state.json").write_bytes(content)
    assert not is_complete(checkpoint)


@pytest.mark.parametrize(
    ("place", "value"),
    [(6, 255), (8, 32), (10, 99), (46, 255), (29, 255)],
    ids=["version", "flags", "method", "name", "name length"],
)
def test_is_complete_refuses_a_damaged_directory(tmp_path, place, value):
    checkpoint = make_checkpoint(tmp_path, 3)
    content = bytearray((checkpoint / "optimizer.pt").read_bytes())
    content[content.find(b"PK\1\2") + place] = value
    (checkpoint / "optimizer.pt").write_bytes(content)
    assert not is_complete(checkpoint)


@pytest.mark.parametrize("before", [b"\xff\xfe", b"<<<<<<< HEAD\n", b"PK"])
def test_is_complete_refuses_an_archive_behind_other_bytes(tmp_path, before):
    checkpoint = make_checkpoint(tmp_path, 3)
    (checkpoint / "optimizer.pt").write_bytes(before + (checkpoint / "optimizer.pt").read_bytes())
    assert not is_complete(checkpoint)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_is_complete_refuses_a_file_of_the_right_size_with_a_hole_in_it(tmp_path, name):
    checkpoint = make_checkpoint(tmp_path, 3)
    torch.save({"moments": torch.ones(4096)}, checkpoint / name)
    assert is_complete(checkpoint)
    content = bytearray((checkpoint / name).read_bytes())
    # as a power cut leaves it: the size is on disk, a block of the content is not
    middle = len(content) // 2
    content[middle : middle + 512] = bytes(512)
    (checkpoint / name).write_bytes(content)
    assert not is_complete(checkpoint)


def test_find_newest_complete_changes_nothing(tmp_path):
    older, newer = make_checkpoint(tmp_path, 5), make_checkpoint(tmp_path, 10)
    (newer / "optimizer.pt").unlink()
    assert find_newest_complete(tmp_path) == older
    assert newer.exists()


def test_resume_point_says_where_it_goes_on_and_what_it_set_aside(tmp_path):
    older, newer = make_checkpoint(tmp_path / "checkpoints", 5), make_checkpoint(tmp_path / "checkpoints", 10)
    (newer / "optimizer.pt").unlink()
    said = io.StringIO()
    # narrow: a path is never broken into lines
    assert resume_point(tmp_path, "sft", Screen(file=said, width=40)) == older
    assert said.getvalue().splitlines() == [
        f"sft: a kill left a partial checkpoint; set aside as {tmp_path / 'checkpoints/partial-checkpoint-10'}",
        f"sft: going on from {older}",
    ]


def test_step_of_a_strange_name_is_refused(tmp_path):
    with pytest.raises(RunError, match="not a checkpoint name"):
        step_of(tmp_path / "checkpoint-last")


def test_is_complete_takes_one_random_state_for_each_process(tmp_path):
    checkpoint = make_checkpoint(tmp_path, 3)
    (checkpoint / "rng_state.pth").rename(checkpoint / "rng_state_0.pth")
    torch.save({"step": 3}, checkpoint / "rng_state_1.pth")
    assert is_complete(checkpoint)
    (checkpoint / "rng_state_1.pth").write_bytes(b"half")
    assert not is_complete(checkpoint)
