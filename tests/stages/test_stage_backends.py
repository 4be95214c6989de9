"""Which backend a stage takes, and what follows: its own process where they differ, one choice in plan and doctor."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mbt_lite import cli
from mbt_lite.errors import ModelError, RunError
from mbt_lite.launch import ProcessEndedError, run_alone
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.schema import Recipe
from mbt_lite.run_dir import STAGES
from mbt_lite.student.backend import backend_of, backends_differ

ROOT = Path(__file__).parents[2]
T, U = "transformers", "unsloth"


def recipe(*settings: str) -> Recipe:
    return load_recipe(ROOT / "recipes/mbt_r.yaml", settings)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a function that stages what is here: a card, unsloth, how many processes."""
    torch = pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

    def stage(*, card: bool, unsloth: bool, processes: int = 1) -> None:
        monkeypatch.setattr("mbt_lite.student.backend.has_unsloth", lambda: unsloth)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: card)
        if processes > 1:
            monkeypatch.setenv("RANK", "0")
            monkeypatch.setenv("WORLD_SIZE", str(processes))

    return stage


CHOICES = {
    "a card and unsloth": ({"card": True, "unsloth": True}, (), (T, U, T, T)),
    "vLLM asked": ({"card": True, "unsloth": True}, ("grpo.rollout_engine=vllm",), (T, U, U, T)),
    "forced unsloth": ({"card": True, "unsloth": True}, ("model.backend=unsloth",), (U, U, U, U)),
    "forced transformers": ({"card": True, "unsloth": True}, ("model.backend=transformers",), (T, T, T, T)),
    "no unsloth": ({"card": True, "unsloth": False}, (), (T, T, T, T)),
    "no card": ({"card": False, "unsloth": True}, (), (T, T, T, T)),
    "two processes": ({"card": True, "unsloth": True, "processes": 2}, (), (T, T, T, T)),
}


@pytest.mark.parametrize("name", CHOICES)
def test_backend_of_each_stage(name: str, machine: Any) -> None:
    here, settings, expected = CHOICES[name]
    machine(**here)
    chosen = tuple(backend_of(recipe(*settings), stage) for stage in STAGES)
    assert chosen == expected
    assert backends_differ(recipe(*settings), STAGES) is (len(set(expected)) > 1)


def test_unsloth_by_name_is_refused_where_it_cannot_be(machine: Any) -> None:
    machine(card=True, unsloth=False)
    with pytest.raises(ModelError, match="unsloth is not installed"):
        backend_of(recipe("model.backend=unsloth"), "gen")
    machine(card=True, unsloth=True, processes=2)
    with pytest.raises(ModelError, match="unsloth is not tried in several processes"):
        backend_of(recipe("model.backend=unsloth"), "sft")


def test_run_starts_a_process_a_stage_where_backends_differ(
    machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(card=True, unsloth=True)
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", str(tmp_path))
    asked: list[list[str]] = []
    monkeypatch.setattr(cli, "run_alone", asked.append)
    out = str(tmp_path / "run")
    questions = {"path": "data_samples/demo_{}.jsonl", "split": "null", "limit": "32"}
    settings = [
        word
        for part in ("train", "dev")
        for key, value in questions.items()
        for word in ("--set", f"data.{part}.{key}={value.format(part)}")
    ]
    done = CliRunner().invoke(cli.app, ["run", "recipes/mbt_r.yaml", "--out", out, *settings])
    assert done.exit_code == 0, done.output
    assert asked == [[stage, "recipes/mbt_r.yaml", "--out", out, *settings] for stage in STAGES]


def test_run_alone_gives_what_its_process_ends_with(tmp_path: Path) -> None:
    run_alone(["--version"])
    with pytest.raises(ProcessEndedError, match="exit code 2"):
        run_alone(["gen", str(tmp_path / "nowhere.yaml")])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGKILL, None)], ids=["told", "killed"])
def test_a_signal_reaches_the_stage(number: int, code: int | None, tmp_path: Path) -> None:
    """SIGTERM to the command ends its stage as it ends a command; a stage that is killed is one line."""
    outer = (
        "import os, sys; from mbt_lite import launch\n"
        "print(os.getpid(), flush=True)\n"
        "try: launch.run_alone(['teacher', '--port', '0'])\n"
        "except launch.ProcessEndedError as error: sys.exit(error.code)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", outer], cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        # the line in which the stage's process says that it serves
        process.stdout.readline()
        if number == signal.SIGTERM:
            process.terminate()
        else:
            [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(child), number)
        began = time.monotonic()
        _, said = process.communicate(timeout=60)
        assert time.monotonic() - began < 50
    if code is None:
        assert process.returncode == 1
        assert f"{RunError.__name__}: teacher: ended by signal 9" in said
    else:
        assert process.returncode == code
