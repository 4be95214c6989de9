"""The benchmark runs; how fast it is depends on the machine and is no test."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_benchmark_prints_its_figures() -> None:
    options = ["--requests", "40", "--concurrency", "8", "--latency-seconds", "0.02", "--runs", "1"]
    command = [sys.executable, "-m", "mbt_lite.teacher.benchmark", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    first, last = done.stdout.splitlines()
    assert re.fullmatch(r"run 1: [\d.]+ s, client [\d.]+ CPU s, resident MiB 0:\d+ 4:\d+ .* 40:\d+", first)
    assert re.fullmatch(r"median of 1: [\d.]+ s, \d+ requests/s, [\d.]+ of the ideal \(0\.10 s\)", last)
