"""A GGUF by llama.cpp's own converter and quantiser, read back by its own server."""

import re
from pathlib import Path

import pytest

pytest.importorskip("peft", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from test_ollama import fill
from tiny_base import make_run, save_wordy_base
from typer.testing import CliRunner

from mbt_lite import cli
from mbt_lite.errors import ModelError
from mbt_lite.export import llama_cpp
from mbt_lite.export.convert import convert, find_converter
from mbt_lite.export.ollama import ollama_template
from mbt_lite.prompts import student_messages
from mbt_lite.recipe import schema
from mbt_lite.student.chat_template import prompt_ids, rendered
from mbt_lite.student.embedded import NAME, PREFIX, embedded_folder

pytestmark = pytest.mark.slow
TOKENS = 24
PROMPTS = [
    [{"role": "user", "content": f"Who wrote number {number}? \u00c9coute\u2026 {number**2}\n  two <b>"}]
    for number in range(12)
]
PACKED = ("q8_0", "q4_k_m")


@pytest.fixture(scope="module", autouse=True)
def tools() -> list[str]:
    """llama.cpp's converter, quantiser and server; a machine without them, or without the embedded student, skips."""
    try:
        llama_cpp.find_server()
        llama_cpp.find_quantiser("q8_0")
        # a tokenizer that llama.cpp knows
        embedded_folder(PREFIX + NAME)
        return find_converter(None)
    except ModelError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_wordy_base(tmp_path_factory.mktemp("gguf") / "base")


@pytest.fixture(scope="module")
def run(base: Path) -> Path:
    return make_run(base.parent / "run", schema.Model(name=str(base), dtype="float32"), "lora")


@pytest.fixture(scope="module")
def whole(base: Path, tools: list[str]) -> Path:
    """The base as one file in 16 bits."""
    from transformers import AutoTokenizer

    convert(tools, base, base.parent / "f16.gguf", AutoTokenizer.from_pretrained(base))
    return base.parent / "f16.gguf"


def greedy(model, ids: list[int]) -> list[int]:
    asked = torch.tensor([ids])
    written = model.generate(asked, attention_mask=torch.ones_like(asked), max_new_tokens=TOKENS, do_sample=False)
    return written[0, len(ids) :].tolist()


def test_f16_has_the_tokens_of_transformers_and_asks_as_training_does(base: Path, whole: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    asked = [prompt_ids(tokenizer, messages) for messages in PROMPTS]
    with llama_cpp.serving(whole, 256, tmp_path / "log") as server:
        assert [server.read_prompt(messages) for messages in PROMPTS] == asked
        for messages in PROMPTS:
            templated = server.ask("/apply-template", {"messages": messages})["prompt"]
            assert templated == rendered(tokenizer, messages, add_generation_prompt=True)
            assert templated == fill(ollama_template(tokenizer), "", messages[0]["content"])
        written = server.complete(asked, TOKENS)
    wanted = [greedy(model, ids) for ids in asked]
    assert len({tuple(tokens) for tokens in wanted}) > 6, "prompts that are all answered alike prove little"
    assert [tokens for tokens, _ in written] == wanted
    assert not any(ended for _, ended in written)


@pytest.mark.parametrize("kind", PACKED)
def test_packed_files_are_smaller_and_are_read(kind, base: Path, whole: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    packed = tmp_path / "packed.gguf"
    llama_cpp.quantise(llama_cpp.find_quantiser(kind), whole, packed, kind)
    assert packed.stat().st_size < 0.7 * whole.stat().st_size
    with llama_cpp.serving(packed, 256, tmp_path / "log") as server:
        ((tokens, _),) = server.complete([prompt_ids(tokenizer, PROMPTS[0])], TOKENS)
    assert len(tokens) == TOKENS


@pytest.mark.parametrize("kind", ["f16", "q4_k_m"])
def test_export_gguf_answers_as_the_student_does(kind, run: Path, tmp_path: Path) -> None:
    arguments = ["--format", "gguf", "--gguf-type", kind, "--verify", "3", "--out", str(tmp_path / "gguf")]
    result = CliRunner().invoke(cli.app, ["export", str(run), *arguments])
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "gguf").iterdir()) == ["Modelfile", "README.md", "model.gguf"]
    card = (tmp_path / "gguf/README.md").read_text()
    assert re.search(r"Answers to 3 questions of eval, .* read back, EM 0.0 %, answered 0.0 %, \d+ tokens", card)
    assert "llama-server -m THIS_FOLDER/model.gguf --jinja --reasoning-format none" in card


def test_server_that_cannot_load_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_text("no")
    with (
        pytest.raises(ModelError, match=r"llama-server: ended with exit code \d+ \(said: .*\); use another version"),
        llama_cpp.serving(tmp_path / "no.gguf", 8, tmp_path / "log"),
    ):
        pass


def test_quantiser_that_cannot_read_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_text("no")
    with pytest.raises(ModelError, match=r"failed with exit code 1 \(said: .*\); use another version"):
        llama_cpp.quantise(llama_cpp.find_quantiser("q8_0"), tmp_path / "no.gguf", tmp_path / "q.gguf", "q8_0")


def test_context_of_the_modelfile_holds_every_question_and_its_answer(run: Path) -> None:
    from mbt_lite.export.answers import read_trial
    from mbt_lite.export.ollama import context_tokens
    from mbt_lite.recipe import load_recipe
    from mbt_lite.run_dir import RECIPE_FILE, RunDir

    recipe = load_recipe(run / RECIPE_FILE, ["data.max_prompt_tokens=384", "data.dev.limit=40"])
    trial = read_trial(recipe, RunDir(run), 40)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(recipe.model.name)
    longest = max(len(prompt_ids(tokenizer, student_messages(question))) for question in trial.questions)
    assert longest + recipe.eval.max_completion_tokens <= context_tokens(recipe)
