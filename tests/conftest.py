"""Fixtures shared by all tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_server import LlamaServer, llama_server
from tiny_student import save_tiny_student

ROOT = Path(__file__).parents[1]


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
