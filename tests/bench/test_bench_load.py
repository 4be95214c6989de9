"""A load has its marks in their order and its peak; how long it takes is no test."""

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mbt_lite import cli
from mbt_lite.bench.load import summarise
from mbt_lite.bench.measurement import read_measurements


def test_run_marks_what_it_did_in_order(student_folder: Path) -> None:
    from mbt_lite.bench import load_run

    began = time.time()
    found = load_run.run(str(student_folder), began)
    assert 0 < found["imported"] < found["loaded"] < found["first_token"] <= time.time() - began
    assert found["resident_gib"] > 0.05
    assert found["backend"] in ("transformers", "unsloth")


def run_of(imported: float, first_token: float, resident: float, gpu: float | None) -> dict[str, object]:
    marks = {"imported": imported, "loaded": imported + 1, "first_token": first_token}
    return {**marks, "resident_gib": resident, "gpu_gib": gpu, "backend": "transformers", "threads": 2}


def test_summarise_takes_the_median_of_each_mark() -> None:
    pytest.importorskip("bitsandbytes", reason="needs the training stack: pip install 'mbt-lite[train]'")
    row = summarise("m", [run_of(9.0, 30.0, 1.5, None), run_of(3.0, 11.0, 1.0, None), run_of(4.0, 12.0, 2.0, None)])
    assert row.figures["seconds"] == {"imported": 4.0, "loaded": 5.0, "first_token": 12.0}
    assert row.figures["peak_gib"] == {"resident_gib": 1.5, "gpu_gib": None}
    assert row.settings == {"model": "m", "quantization": "nf4", "backend": "transformers", "threads": 2}
    assert row.result == (
        "first token after 12.0 s (libraries 4.0, student loaded after 5.0), peak 1.5 GiB resident "
        "(m, 4-bit, transformers, median of 3)"
    )


def test_summarise_says_the_memory_of_a_card() -> None:
    pytest.importorskip("bitsandbytes", reason="needs the training stack: pip install 'mbt-lite[train]'")
    assert "1.0 GiB resident and 2.5 GiB of the GPU (m" in summarise("m", [run_of(1.0, 3.0, 1.0, 2.5)]).result


def test_command_appends_a_row_of_a_fresh_process(student_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    arguments = ["bench", "load", "--model", str(student_folder), "--runs", "1", "--append", str(file)]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    [row] = read_measurements(file)
    assert result.stdout.splitlines()[-1] == f"load: {row.result}; appended to {file}"
    assert row.benchmark == "load"
    # the process has imported before it loaded: without that the first mark would be near zero
    assert 0.1 < row.figures["seconds"]["imported"] < row.figures["seconds"]["first_token"]


def test_command_names_a_student_that_cannot_be_loaded(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    (tmp_path / "student").mkdir()
    result = CliRunner().invoke(cli.app, ["bench", "load", "--model", str(tmp_path / "student"), "--runs", "1"])
    assert result.exit_code == 2
    assert f"bench load: the run failed (mbt_lite.errors.ModelError: {tmp_path / 'student'}: " in result.stderr
    assert "as model.name" in result.stderr
