"""Fixtures of the stages' tests."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run folder with a stand-in student, for the eval stage."""
    pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    from eval_lab import make_lab

    return make_lab(tmp_path, monkeypatch)
