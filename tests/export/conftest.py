"""A run folder made by hand, with an adapter trained in 4 bits."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft", reason="needs the training stack: pip install 'mbt-lite[train]'")

from byte_tokenizer import byte_tokenizer
from tiny_base import TEXTS, make_run, save_base

from mbt_lite.recipe import schema


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has trained sft in 4 bits."""
    root = tmp_path_factory.mktemp("export")
    base = save_base(root / "base")
    return make_run(root / "run", schema.Model(name=str(base), dtype="float32"), "rslora")


@pytest.fixture
def chat_tokenizer() -> Any:
    return byte_tokenizer(TEXTS, 320)
