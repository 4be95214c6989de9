"""Run folders that were damaged, or that came from elsewhere with links in them."""

import re
from pathlib import Path

import pytest
from begun_run import RECIPE, begin, start_stage

from mbt_lite.errors import DataError, RunError
from mbt_lite.run_dir import RunDir

DAMAGED = {
    "cut": (b'{"inputs": {"a": ', "not JSON ("),
    "of zeros": (b"\0" * 40, "not JSON ("),
    "no UTF-8": (b'{"inputs": "\xff"}', "not JSON (not UTF-8)"),
    "a list": (b"[]", "not a JSON object (got list)"),
    "of other types": (b'{"inputs": 3}', "`inputs` is not what was written (got int)"),
    "without its key": (b"{}", "`inputs` is not what was written (got nothing)"),
    "bottomless": (b"[" * 100_000, "not JSON (too deep, or a number too long)"),
    "a number of 10,000 digits": (b'{"inputs": ' + b"9" * 10_000 + b"}", "not JSON (too deep, or a number too long)"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_mark_is_one_line(tmp_path: Path, damage: str) -> None:
    content, said = DAMAGED[damage]
    run = start_stage(tmp_path, "sft")
    mark = tmp_path / "sft/done.json"
    mark.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{mark}: {said}")) as refused:
        run.is_done("sft", {})
    assert str(refused.value).endswith("; bring a whole one back, or delete it to make it anew")


@pytest.mark.parametrize("damage", [name for name in DAMAGED if "inputs" not in DAMAGED[name][1]])
def test_a_damaged_recipe_of_the_run_is_one_line(tmp_path: Path, damage: str) -> None:
    begin(start_stage(tmp_path, "sft"), "sft")
    (tmp_path / "recipe.resolved.json").write_bytes(DAMAGED[damage][0])
    with pytest.raises(DataError, match=r"recipe\.resolved\.json: not "):
        RunDir.check(tmp_path, RECIPE, frozenset())


@pytest.mark.parametrize("place", ["gen", "gen/done.json", "gen/.lock", "gen/adapter", "gen/checkpoints/checkpoint-1"])
def test_locked_refuses_a_link_that_leads_out_and_writes_nothing(tmp_path: Path, place: str) -> None:
    outside, run = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    (run / place).parent.mkdir(parents=True)
    (run / place).symlink_to(outside)
    with pytest.raises(RunError, match=re.escape(f"{run / place}: a link that leads out")):
        start_stage(run, "gen")
    assert not list(outside.iterdir())


def test_locked_takes_a_linked_run_folder_and_links_within_it(tmp_path: Path) -> None:
    (tmp_path / "disk/gen").mkdir(parents=True)
    (tmp_path / "disk/gen/newest.json").symlink_to("../recipe.resolved.json")
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    start_stage(tmp_path / "run", "gen")
    assert (tmp_path / "disk/recipe.resolved.json").exists()


def test_the_recipe_of_a_run_replaces_a_link_and_is_not_written_through_it(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/environment.json").symlink_to(tmp_path / "mine.json")
    start_stage(tmp_path / "run", "gen")
    assert (tmp_path / "mine.json").read_text() == "mine"
