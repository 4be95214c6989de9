"""How many workers share the tests, and the fixtures of all of them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_server import LlamaServer, llama_server
from tiny_student import save_tiny_student

ROOT = Path(__file__).parents[1]
MOST_WORKERS = 4
# one took 3.3 GiB at most, with the processes that its tests start
WORKER_GIB = 3.5

# A core has one worker already: before torch is imported here, and for the processes that tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Give the workers of `-n auto`: one a core, as far as the machine's memory goes."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return max(1, min(os.cpu_count() or 1, int(gib / WORKER_GIB), MOST_WORKERS))


@pytest.fixture
def shared_data() -> Path:
    """The folder of real benchmark rows beside the checkout; the tests that need it skip where it is missing."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs real benchmark rows in {folder.parent.name}/{folder.name} beside the checkout")
    return folder


@pytest.fixture(scope="session")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save the tiny student once."""
    pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    folder = tmp_path_factory.mktemp("student")
    save_tiny_student(folder)
    return folder


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """A real llama.cpp server that serves the embedded student, one for all tests; it must not be killed."""
    with llama_server(tmp_path_factory.mktemp("llama")) as server:
        yield server
