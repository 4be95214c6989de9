"""Fixtures shared by all tests."""

from pathlib import Path

import pytest
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
