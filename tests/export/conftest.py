"""A run folder made by hand, with an adapter trained in 4 bits."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft", reason="needs the training stack: pip install 'mbt-lite[train]'")

from byte_tokenizer import byte_tokenizer
from tiny_base import TEXTS, make_trace, save_base, save_moved_adapter

from mbt_lite.recipe import resolved, schema
from mbt_lite.records import to_row
from mbt_lite.run_dir import RunDir, write_jsonl


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has trained sft in 4 bits."""
    root = tmp_path_factory.mktemp("export")
    base = save_base(root / "base")
    lora = schema.Lora(rank=4, alpha=8, variant="rslora")
    recipe = schema.Recipe(
        model=schema.Model(name=str(base), dtype="float32"),
        data=schema.Data(train=schema.Questions(path="train.jsonl"), dev=schema.Questions(path="dev.jsonl")),
        lora=lora,
        eval=schema.Eval(temperature=0.6, top_p=0.95, top_k=20, max_completion_tokens=100),
    )
    run_dir = RunDir.open(root / "run", resolved(recipe), frozenset())
    write_jsonl(run_dir.stage_dir("gen") / "traces.jsonl", [to_row(make_trace(number)) for number in (1, 2)])
    (run_dir.stage_dir("sft")).mkdir()
    save_moved_adapter(base, run_dir.stage_dir("sft") / "adapter", lora, "nf4")
    return run_dir.path


@pytest.fixture
def chat_tokenizer() -> Any:
    return byte_tokenizer(TEXTS, 320)
