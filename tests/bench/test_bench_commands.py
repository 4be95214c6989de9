"""The benchmarks run and leave a row; how fast the machine is is no test."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mbt_lite import cli
from mbt_lite.bench.measurement import read_measurements

ROOT = Path(__file__).parents[2]


def test_gen_prints_and_appends_its_figures(tmp_path: Path) -> None:
    file = tmp_path / "new" / "rows.jsonl"
    options = "--requests 40 --concurrency 8 --latency-seconds 0.02 --runs 1"
    arguments = ["bench", "gen", *options.split(), "--append", str(file)]
    command = [sys.executable, "-m", "mbt_lite", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    first, last = done.stdout.splitlines()
    memory = r"resident MiB by replies 0:\d+ 4:\d+ .* 40:\d+"
    assert re.fullmatch(rf"run 1: [\d.]+ s, client [\d.]+ CPU s, {memory}", first)
    [row] = read_measurements(file)
    assert last == f"gen: {row.result}; appended to {file}"
    assert row.command == shlex.join(["mbt-lite", *arguments])
    assert (row.settings["requests"], row.settings["concurrency"]) == (40, 8)
    assert row.figures["share_of_ideal"] == pytest.approx(5 * 0.02 / row.figures["seconds"][0], abs=0.01)
    assert row.versions.keys() == {"python", "openai"}


def test_table_of_a_missing_file_is_the_users_mistake(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["bench", "table", str(tmp_path / "none.jsonl")])
    assert result.exit_code == 2
    assert "no measurements (no such file)" in result.stderr
