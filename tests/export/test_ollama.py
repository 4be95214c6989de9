"""The Modelfile says what the chat template renders; the converter is called, checked and blamed."""

import re
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="needs the training stack: pip install 'mbt-lite[train]'")

from byte_tokenizer import TEMPLATE

from mbt_lite.errors import ModelError
from mbt_lite.export.ollama import check_gguf, convert, find_converter, modelfile, ollama_template
from mbt_lite.recipe.schema import Data, Eval, Model, Questions, Recipe

DEFAULT_SYSTEM = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind<|im_end|>\n{% endif %}" + TEMPLATE
NO_SYSTEM = TEMPLATE.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")
PREFILLED = TEMPLATE.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
TEMPLATES = {"ChatML": TEMPLATE, "default system": DEFAULT_SYSTEM, "no system": NO_SYSTEM, "prefilled": PREFILLED}


def fill(template: str, system: str, prompt: str) -> str:
    """Do what Ollama does with a template: choose the branch, put the contents in, stop before the answer."""
    chosen = re.sub(
        r"\{\{ if \.System \}\}(.*?)\{\{ else \}\}(.*?)\{\{ end \}\}", r"\1" if system else r"\2", template, flags=re.S
    )
    return chosen.replace("{{ .System }}", system).replace("{{ .Prompt }}", prompt).partition("{{ .Response }}")[0]


@pytest.mark.parametrize("system", ["", "Think first."], ids=["alone", "with a system prompt"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_ollama_template_asks_as_the_chat_template_does(name, system, chat_tokenizer) -> None:
    chat_tokenizer.chat_template = TEMPLATES[name]
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": "Who?\nWhere?"})
    wanted = chat_tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert fill(ollama_template(chat_tokenizer), system, "Who?\nWhere?") == wanted


def test_ollama_template_ends_the_turn_after_the_answer(chat_tokenizer) -> None:
    assert ollama_template(chat_tokenizer).endswith("{{ .Response }}<|im_end|>\n")


def recipe(temperature: float) -> Recipe:
    data = Data(train=Questions(path="a"), dev=Questions(path="b"), max_prompt_tokens=500)
    scored = Eval(temperature=temperature, top_p=0.9, top_k=7, max_completion_tokens=100)
    return Recipe(model=Model(name="tiny"), data=data, eval=scored)


def test_modelfile_stops_and_samples_as_eval_does(chat_tokenizer) -> None:
    lines = modelfile(recipe(0.6), chat_tokenizer, [chat_tokenizer.eos_token_id], "model.gguf").splitlines()
    assert "FROM ./model.gguf" in lines
    assert [line for line in lines if line.startswith("PARAMETER")] == [
        'PARAMETER stop "<|im_end|>"',
        "PARAMETER temperature 0.6",
        "PARAMETER num_ctx 600",
        "PARAMETER num_predict 100",
        "PARAMETER top_p 0.9",
        "PARAMETER top_k 7",
    ]


def test_modelfile_of_a_greedy_eval_has_no_nucleus(chat_tokenizer) -> None:
    text = modelfile(recipe(0.0), chat_tokenizer, [chat_tokenizer.eos_token_id], "model.gguf")
    assert "PARAMETER temperature 0\n" in text
    assert "top_p" not in text


def test_find_converter_names_the_cure(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelError, match=r"not on PATH .* clone llama.cpp"):
        find_converter(None)
    with pytest.raises(ModelError, match=r"no such file \(got .*nothing.py\)"):
        find_converter(tmp_path / "nothing.py")


def test_find_converter_prefers_the_given_one(tmp_path) -> None:
    script = tmp_path / "convert_hf_to_gguf.py"
    script.write_text("")
    assert find_converter(script)[1:] == [str(script)]


def test_convert_tells_the_last_words_of_a_converter_that_fails(chat_tokenizer, tmp_path: Path) -> None:
    script = tmp_path / "convert.py"
    script.write_text("raise NotImplementedError('no such architecture')")
    with pytest.raises(ModelError, match=r"exit code 1 \(said: NotImplementedError: no such architecture\)"):
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
