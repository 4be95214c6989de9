"""The Modelfile says what the chat template renders."""

import re

import pytest

pytest.importorskip("transformers", reason="needs the training stack: pip install 'mbt-lite[train]'")

from byte_tokenizer import TEMPLATE

from mbt_lite.export.ollama import modelfile, ollama_template
from mbt_lite.recipe.schema import Data, Eval, Model, Questions, Recipe

DEFAULT_SYSTEM = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind<|im_end|>\n{% endif %}" + TEMPLATE
NO_SYSTEM = TEMPLATE.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")
PREFILLED = TEMPLATE.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
WHEN_TOLD = TEMPLATE.replace(
    "assistant\n{% endif",
    "assistant\n{% if enable_thinking %}<think>\n{% else %}<think>\n\n</think>\n\n{% endif %}{% endif",
)
TEMPLATES = {
    "ChatML": TEMPLATE,
    "default system": DEFAULT_SYSTEM,
    "no system": NO_SYSTEM,
    "prefilled": PREFILLED,
    "thinks when told": WHEN_TOLD,
    "named": {"default": TEMPLATE, "tool_use": TEMPLATE + "{# tools #}"},
}


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
    wanted = chat_tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, enable_thinking=True
    )
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
