import dataclasses
import datetime
import os
import sys
from pathlib import Path

import pytest

from mbt_lite.bench.measurement import append, machine, markdown_table, measured, read_measurements
from mbt_lite.errors import DataError
from mbt_lite.records import Measurement

LAPTOP = {"cpu": "Some CPU", "cores": 2, "memory_gib": 15.5, "gpu": None, "gpu_memory_gib": None}
ROW = Measurement(
    date="2026-11-21",
    command="mbt-lite bench gen",
    benchmark="gen",
    result="0.88 of the ideal",
    machine=LAPTOP,
    versions={"python": "3.11.2", "openai": "3.54.0"},
    settings={"requests": 2048},
    figures={"seconds": [7.2, 7.3]},
)


def test_append_keeps_what_is_there_and_reads_back_equal(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    other = dataclasses.replace(ROW, benchmark="sft")
    append(ROW, file)
    append(other, file)
    assert read_measurements(file) == [ROW, other]


def test_read_measurements_names_the_line_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    append(ROW, file)
    file.write_text(file.read_text() + '{"date": "2026-11-21"}\n')
    with pytest.raises(DataError, match=r"rows.jsonl:2: not a Measurement"):
        read_measurements(file)


def test_markdown_table_has_a_row_for_each_measurement() -> None:
    card = LAPTOP | {"gpu": "RTX 4090", "gpu_memory_gib": 23.6}
    rows = [ROW, dataclasses.replace(ROW, benchmark="sft", result="a | b", machine=card)]
    assert markdown_table(rows).splitlines() == [
        "| benchmark | result | machine | date, versions | command |",
        "|---|---|---|---|---|",
        "| gen | 0.88 of the ideal | 2 cores Some CPU, 15.5 GiB | 2026-11-21: python 3.11.2, openai 3.54.0 | "
        "`mbt-lite bench gen` |",
        r"| sft | a \| b | RTX 4090 23.6 GiB; 2 cores Some CPU, 15.5 GiB | 2026-11-21: python 3.11.2, openai 3.54.0 | "
        "`mbt-lite bench gen` |",
    ]


def test_measured_says_when_where_and_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/mbt-lite", "bench", "gen", "--append", "my file"])
    row = measured("gen", "fast", settings={}, figures={}, packages=["typer"])
    assert row.command == "mbt-lite bench gen --append 'my file'"
    assert row.date == datetime.datetime.now(datetime.UTC).date().isoformat()
    assert row.versions.keys() == {"python", "typer"}
    assert row.machine == machine()


def test_machine_describes_this_one() -> None:
    described = machine()
    assert described.keys() == LAPTOP.keys()
    assert described["cpu"]
    assert 1 <= described["cores"] <= (os.cpu_count() or 1)
    assert 0.1 < described["memory_gib"] < 100_000
