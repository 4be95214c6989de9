"""The card check's runner: what it writes after each step, whatever a step does. The steps themselves need minutes."""

import ast
import contextlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parent
FAKE = """
import json, os, subprocess, sys, time
step = sys.argv[1]
if step == "load": raise RuntimeError("CUDA error: out of memory")
if step == "sft": os.abort()
if step == "decode": subprocess.run([sys.executable, "-c", "import time; time.sleep(60)", os.environ["MARK"]])
if step == "numbers": print("no card"); sys.exit(77)
print("words before")
path = os.environ["PYTHONPATH"].split(os.pathsep)[2:]
print(json.dumps({"rate": 12.3456, "path": path, "small": "--small" in sys.argv}) if step != "grpo-1" else "nothing")
print("words after")
"""


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_check", FOLDER / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    monkeypatch.setattr(module, "STEPS", script)
    monkeypatch.setattr(module, "LIMITS", {**dict.fromkeys(module.LIMITS, 20), "decode": 1})
    monkeypatch.setattr(module, "SMALL_FACTOR", 1)
    return module


def run(check: Any, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["check.py", *words])
    code: int = check.main()
    return code


def test_every_step_has_a_limit_and_a_function() -> None:
    limits, steps = (
        next(
            node.value
            for node in ast.parse((FOLDER / file).read_text()).body
            if isinstance(node, ast.Assign | ast.AnnAssign) and name in ast.unparse(node).partition("=")[0]
        )
        for file, name in (("check.py", "LIMITS"), ("steps.py", "STEPS"))
    )
    assert isinstance(limits, ast.Dict)
    assert isinstance(steps, ast.Dict)
    assert [ast.unparse(key) for key in limits.keys if key] == [ast.unparse(key) for key in steps.keys if key]


def test_it_goes_on_after_a_failed_step_and_says_how_each_ended(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARK", str(tmp_path))
    code = run(
        check, monkeypatch, "probe", "load", "sft", "decode", "numbers", "grpo-1", "grpo-8", "--out", str(tmp_path)
    )
    assert code == 1
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert {row["step"]: row["ended"] for row in results} == {
        "probe": "passed",
        "load": "failed (1)",
        "sft": "failed (-6)",
        "decode": "over its limit of 1 s",
        "numbers": "skipped",
        "grpo-1": "failed (told nothing)",
        "grpo-8": "passed",
    }
    assert "out of memory" in results[1]["found"]["said"]
    assert "rate 12.35" in (tmp_path / "results.md").read_text()
    assert str(tmp_path) not in _running(), "the child of a stopped step lives on"


def _running() -> str:
    """Give the command lines of all processes, as far as this system shows them."""
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(process.read_text(errors="replace"))
    return "\n".join(lines)


def test_results_are_on_disk_before_the_next_step(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    whole = check.run_step

    def counted(*given: Any, **named: Any) -> Any:
        file = tmp_path / "results.json"
        seen.append(len(json.loads(file.read_text())["results"]) if file.exists() else 0)
        return whole(*given, **named)

    monkeypatch.setattr(check, "run_step", counted)
    assert run(check, monkeypatch, "probe", "numbers", "reward", "--out", str(tmp_path)) == 0
    assert seen == [0, 1, 2]


def test_no_step_begins_without_time_for_it(check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "TOTAL_SECONDS", 0)
    assert run(check, monkeypatch, "probe", "--out", str(tmp_path)) == 1
    assert json.loads((tmp_path / "results.json").read_text())["results"][0]["ended"] == "no time left"


def test_a_bundle_comes_with_the_trl_of_each_backend(check: ModuleType, tmp_path: Path) -> None:
    for step, trl in (("probe", "trl-1.16.0"), ("unsloth-sft", "trl-1.15.0")):
        found = check.run_step(step, 20, tmp_path, small=True)["found"]
        assert found["path"] == [str(tmp_path / trl), str(tmp_path / "site")]
        assert found["small"] is True
