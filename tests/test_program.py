"""The program as a process of its own: its exit codes, signals, and a reader that leaves."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mbt_lite import cli

ROOT = Path(__file__).parents[1]


def start(code: str, folder: Path) -> "subprocess.Popen[str]":
    """Start Python code in a process of its own, with this checkout's package."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True
    )


def test_the_module_is_the_program_and_its_exit_code_is_2_for_a_missing_recipe(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mbt_lite", "run", "missing.yaml"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "missing.yaml: no such file; give the path of a recipe file\n"


# A teacher that waits stands in for a long stage.
WAITING = """
import signal, sys, time, types

# tests that a shell runs in the background inherit that Ctrl-C is ignored
signal.signal(signal.SIGINT, signal.default_int_handler)

def serve_forever(host, port):
    print("waiting", flush=True)
    time.sleep(60)

module = types.ModuleType("mbt_lite.scripted.server")
module.serve_forever = serve_forever
sys.modules[module.__name__] = module
sys.argv = ["mbt-lite", "teacher"]

from mbt_lite.cli import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_program_with_130_and_one_line(number: signal.Signals, tmp_path: Path) -> None:
    process = start(WAITING, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, cli.INTERRUPTED + "\n")


def test_a_reader_that_leaves_ends_no_command_with_a_traceback() -> None:
    command = f"{sys.executable} -m mbt_lite schema | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == "{\n"
