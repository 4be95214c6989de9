"""A tiny student in a model folder, for tests that run whole stages."""

from pathlib import Path

import pytest
from tiny_student import save_tiny_student


@pytest.fixture(scope="session")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save the tiny student once."""
    pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    folder = tmp_path_factory.mktemp("student")
    save_tiny_student(folder)
    return folder
