"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def shared_data() -> Path:
    """The folder of real benchmark rows beside the checkout; the tests that need it skip where it is missing."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs real benchmark rows in {folder.parent.name}/{folder.name} beside the checkout")
    return folder
