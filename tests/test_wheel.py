"""What `pip install` brings: the wheel outside a checkout, with its recipes and samples."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mbt_lite import shipped
from mbt_lite.errors import DataError
from mbt_lite.files import read_json, read_jsonl

ROOT = Path(__file__).parents[1]
# four questions, two, and a few tokens of the tiny student
SMALL = [
    "model.dtype=float32", "data.train.limit=4", "data.dev.limit=2", "data.max_prompt_tokens=512", "gen.kind=mbt_s",
    "sft.max_sequence_tokens=1200", "eval.variants=[base]", "eval.max_completion_tokens=16",
]  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and unpack it as pip does."""
    pytest.importorskip("hatchling", reason="needs the dev extra")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    quiet = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT], check=True, env=quiet)
    [wheel] = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True, env=quiet)
    return folder / "site"


def run(site: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "mbt_lite", *words]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True
    )


@pytest.mark.slow
def test_a_wheel_runs_a_shipped_recipe_by_name_anywhere(installed: Path, student_folder: Path, tmp_path: Path) -> None:
    listed = run(installed, tmp_path, "recipes")
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(shipped.recipes())
    settings = [f"--set={one}" for one in (f"model.name={student_folder}", *SMALL)]
    for stage in ("gen", "eval"):
        done = run(installed, tmp_path, stage, "demo", *settings)
        assert done.returncode == 0, done.stdout + done.stderr
    recipe = read_json(tmp_path / "runs/demo/recipe.resolved.json")
    assert Path(recipe["data"]["train"]["path"]).is_relative_to(installed)
    assert len(read_jsonl(tmp_path / "runs/demo/gen/traces.jsonl")) == 4
    assert (tmp_path / "runs/demo/eval/report.html").exists()


def test_a_wheel_copies_a_recipe_that_runs(installed: Path, tmp_path: Path) -> None:
    copied = run(installed, tmp_path, "recipes", "copy", "demo", "--out", "mine.yaml")
    assert copied.stdout == "mine.yaml: written; `mbt-lite schema` tells every key\n"
    planned = run(installed, tmp_path, "sft", "mine.yaml", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert run(installed, tmp_path, "recipes", "copy", "demo", "--out", "mine.yaml").returncode == 2


def test_every_shipped_recipe_says_what_it_is() -> None:
    assert all(10 < len(shipped.purpose(path)) < 140 for path in shipped.recipes().values())


def test_names_and_samples_are_found_only_where_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped.recipe_file(Path("demo")) == ROOT / "recipes/demo.yaml"
    assert shipped.recipe_file(Path("demo.yaml")) == Path("demo.yaml")
    assert shipped.recipe_file(Path("nothing")) == Path("nothing")
    assert shipped.samples_file("data_samples/demo_dev.jsonl") == str(ROOT / "data_samples/demo_dev.jsonl")
    assert shipped.samples_file("data_samples/none.jsonl") == "data_samples/none.jsonl"
    for name in ("demo", "data_samples/demo_dev.jsonl"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("")
    assert shipped.recipe_file(Path("demo")) == Path("demo")
    assert shipped.samples_file("data_samples/demo_dev.jsonl") == "data_samples/demo_dev.jsonl"
    with pytest.raises(DataError, match="no such recipe"):
        shipped.copy("nothing", tmp_path)
