"""A random model: loads by the same road as any other, with the sizes that a plan says."""

import dataclasses
from pathlib import Path

import pytest

from mbt_lite.architecture.families import KNOWN
from mbt_lite.architecture.storage import nf4_weights
from mbt_lite.errors import ModelError
from mbt_lite.recipe import schema
from mbt_lite.student import random_weights
from mbt_lite.student.loading import load_student
from mbt_lite.student.random_weights import random_folder, write_random_model

SMALL = dataclasses.replace(KNOWN["qwen3-8b"], layers=2, hidden=64, intermediate=96, heads=4, kv_heads=2, head_size=16,
                            vocabulary=49152)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, tokenizer: object, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a small random Qwen3 with the tests' byte tokenizer."""
    tokenizer.save_pretrained(tmp_path / "tokenizer")  # type: ignore[attr-defined]
    monkeypatch.setattr(random_weights, "embedded_folder", lambda name: tmp_path / "tokenizer")
    write_random_model(SMALL, tmp_path / "model")
    return tmp_path / "model"


def parameters_of(student: object) -> int:
    return sum(parameter.numel() for parameter in student.model.parameters())  # type: ignore[attr-defined]


def test_random_model_has_every_parameter_of_its_architecture(folder: Path) -> None:
    student = load_student(schema.Model(name=str(folder), quantization="none", backend="transformers"))
    assert parameters_of(student) == SMALL.parameters


def test_random_model_is_quantized_to_the_bytes_of_the_plan(folder: Path) -> None:
    from bitsandbytes.nn import Linear4bit

    student = load_student(schema.Model(name=str(folder), backend="transformers"))
    layers = [module for module in student.model.modules() if isinstance(module, Linear4bit)]
    states = [layer.weight.quant_state for layer in layers]
    kept = sum(layer.weight.data.nbytes for layer in layers)
    for state in states:
        kept += sum(t.nbytes for t in (state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code))
    assert kept == nf4_weights(SMALL)


def test_random_model_is_the_same_each_time(folder: Path, tmp_path: Path) -> None:
    write_random_model(SMALL, tmp_path / "again")
    for file in sorted(folder.glob("*.safetensors")):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_random_folder_refuses_an_unknown_architecture() -> None:
    with pytest.raises(ModelError, match=r"unknown architecture \(got random:gpt-9\); those there are: smollm2"):
        random_folder("random:gpt-9")


def test_random_folder_refuses_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = dataclasses.replace(KNOWN["qwen3-14b"], layers=10**9)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(KNOWN, "huge", huge)
    with pytest.raises(ModelError, match="no room for random:huge"):
        random_folder("random:huge")
