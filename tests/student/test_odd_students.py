"""What people bring as a student: read rightly, or refused in one line with a cure."""

import errno
import json
import shutil

import pytest
import torch
from byte_tokenizer import TEMPLATE
from odd_students import (
    NO_SYSTEM,
    THINKS_WHEN_TOLD,
    cut,
    odd_student,
    with_config,
    with_rows_for_its_tokens,
    with_special,
    with_template,
    without_rows,
)  # fmt: skip

from mbt_lite.errors import ModelError
from mbt_lite.export.ollama import ollama_template
from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.library import complete_by_library
from mbt_lite.prompts import student_messages
from mbt_lite.recipe.schema import Lora, Model
from mbt_lite.records import Document, Question
from mbt_lite.student import adapters, loading
from mbt_lite.student.chat_template import prompt_ids, rendered, takes_system, template_hash


def without_config(folder):
    (folder / "config.json").unlink()


QUESTION = Question("q", "Who?", "A", (), (Document("t", "x", True),), "mbt")


def model(folder) -> Model:
    return Model(name=str(folder), quantization="none", dtype="float32", backend="transformers")


@pytest.mark.parametrize("tags", [("<think>", "</think>"), ("</think>",), ("<answer>", "</answer>")], ids=" ".join)
def test_tags_that_decoding_drops_are_refused(student_folder, tmp_path, tags):
    folder = odd_student(tmp_path / "odd", student_folder, with_special(*tags), with_rows_for_its_tokens)
    message = f"the tokenizer loses {' and '.join(tags)} when completions are read .*special"
    with pytest.raises(ModelError, match=message):
        loading.load_tokenizer(model(folder))


def test_tokens_without_a_row_are_refused_before_any_is_asked_for(student_folder, tmp_path):
    folder = odd_student(tmp_path / "odd", student_folder, without_rows)
    with pytest.raises(ModelError, match=r"no row for \(got <\|turn\|>, the embedding has \d+ rows\)"):
        loading.load_student(model(folder))


@pytest.mark.parametrize(
    "change",
    [
        cut("model.safetensors"), cut("config.json"), cut("tokenizer.json"),
        with_config(hidden_size=48), with_config(model_type="no-such"), without_config,
    ],
    ids=["weights", "config", "tokenizer", "another size", "unknown kind", "no config"],
)  # fmt: skip
def test_a_damaged_model_is_one_line_with_its_place(student_folder, tmp_path, change):
    folder = odd_student(tmp_path / "odd", student_folder, change)
    with pytest.raises(ModelError, match=rf"{folder}: cannot be loaded \(.+\); give") as caught:
        loading.load_student(model(folder))
    assert "\n" not in str(caught.value)


def with_its_own_decoding(folder):
    path = folder / "generation_config.json"
    own = {"repetition_penalty": 1.5, "no_repeat_ngram_size": 1, "min_new_tokens": 9, "typical_p": 0.5}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))


@pytest.mark.parametrize("temperature", [0.0, 1.0], ids=["greedy", "sampled"])
def test_a_model_decodes_as_it_is_told_and_not_by_its_own_file(student_folder, tmp_path, temperature):
    folder = odd_student(tmp_path / "odd", student_folder, with_its_own_decoding)
    decoding = Decoding(max_completion_tokens=12, temperature=temperature)
    odd, plain = (loading.load_student(model(one)) for one in (folder, student_folder))
    assert odd.stop_ids == plain.stop_ids
    prompt = prompt_ids(plain.tokenizer, student_messages(QUESTION))
    assert complete_by_library(odd, [prompt], decoding, [12]) == complete_by_library(plain, [prompt], decoding, [12])


def with_code(folder):
    config = folder / "config.json"
    changed = {**json.loads(config.read_text()), "model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine"}}
    config.write_text(json.dumps(changed))
    (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Mine: pass\n")


def test_code_of_strangers_is_not_run(student_folder, tmp_path):
    folder = odd_student(tmp_path / "odd", student_folder, with_code)
    with pytest.raises(ModelError, match="cannot be loaded"):
        loading.load_student(model(folder))
    assert not (folder / "ran").exists()


def test_lack_of_memory_while_loading_is_no_damage(student_folder, monkeypatch):
    def run_out(*_, **__):
        torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", run_out)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        loading.load_student(model(student_folder))


def test_a_template_that_refuses_a_system_turn_says_so_and_the_rest_works(student_folder, tmp_path):
    folder = odd_student(tmp_path / "odd", student_folder, with_template(NO_SYSTEM))
    tokenizer = loading.load_tokenizer(model(folder))
    assert not takes_system(tokenizer)
    assert prompt_ids(tokenizer, student_messages(QUESTION))
    with pytest.raises(ModelError, match=r"refuses turns of system, user \(System role not supported\).*metacognitive"):
        prompt_ids(tokenizer, student_messages(QUESTION, metacognitive=True))
    assert "System" not in ollama_template(tokenizer)


def test_named_templates_are_read_by_the_default_one(student_folder, tmp_path):
    folder = odd_student(
        tmp_path / "odd", student_folder, with_template({"default": TEMPLATE, "tool_use": TEMPLATE + "{# tools #}"})
    )
    named, plain = (loading.load_tokenizer(model(one)) for one in (folder, student_folder))
    assert isinstance(named.chat_template, dict)
    assert template_hash(named) == template_hash(plain)
    assert ollama_template(named) == ollama_template(plain)


def test_ollama_is_told_to_think_as_training_was(student_folder, tmp_path):
    folder = odd_student(tmp_path / "odd", student_folder, with_template(THINKS_WHEN_TOLD))
    tokenizer = loading.load_tokenizer(model(folder))
    asked = rendered(tokenizer, student_messages(QUESTION), add_generation_prompt=True)
    opening = asked.rpartition("assistant")[2]
    assert opening == "\n<think>\n"
    assert f"{opening}{{{{ .Response }}}}" in ollama_template(tokenizer)


@pytest.fixture
def adapter(student_folder, tmp_path):
    """An adapter on all linear layers."""
    lora = Lora(rank=4, alpha=8)
    student = adapters.load_with_adapter(model(student_folder), lora, 0, gradient_checkpointing=False)
    adapters.save_adapter(student, tmp_path / "adapter")
    return tmp_path / "adapter"


def carried_on(adapter, base):
    lora = Lora(rank=4, alpha=8, continue_from=str(adapter))
    return adapters.load_with_adapter(model(base), lora, 0, gradient_checkpointing=False)


def test_an_adapter_that_leaves_layers_out_is_not_carried_on(student_folder, tmp_path):
    from peft import LoraConfig, get_peft_model

    student = loading.load_student(model(student_folder))
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    get_peft_model(student.model, config).save_pretrained(tmp_path / "few")
    message = r"leaves linear layers out \(got q_proj, v_proj without down_proj, gate_proj, k_proj, o_proj, up_proj\)"
    with pytest.raises(ModelError, match=message):
        carried_on(tmp_path / "few", student_folder)


def test_an_adapter_of_another_base_is_told(adapter, student_folder, tmp_path, capsys):
    carried_on(adapter, student_folder)
    assert capsys.readouterr().err == ""
    other = shutil.copytree(student_folder, tmp_path / "another-base")
    carried_on(adapter, other)
    said = capsys.readouterr().err
    assert f"{adapter}: was trained on {student_folder}, and is continued on {other}" in said


@pytest.mark.parametrize("harm", ["size", "cut", "json"])
def test_a_damaged_adapter_is_one_line(adapter, student_folder, harm):
    weights, config = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    if harm == "size":
        config.write_text(json.dumps({**json.loads(config.read_text()), "r": 2}))
    elif harm == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        config.write_text(config.read_text()[:40])
    with pytest.raises(ModelError, match=rf"^{adapter}: cannot be loaded \(.+\); it is damaged") as caught:
        loading.load_student(model(student_folder), adapter)
    assert "\n" not in str(caught.value)


def test_what_the_machine_refuses_while_a_student_is_loaded_is_no_fault_of_the_student() -> None:
    with pytest.raises(OSError, match="/cache"), loading.loading("embedded:smollm2-135m"):
        raise OSError(errno.EROFS, "Read-only file system", "/cache")
    with pytest.raises(ModelError, match="cannot be loaded"), loading.loading("no-such/repository"):
        raise OSError("it is not a local folder and is not a valid model identifier")
