"""Opening the student for gen and eval: what it counts, and an adapter that is another student's."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

from peft import get_peft_model
from tiny_student import tiny_config
from transformers import AutoTokenizer, LlamaForCausalLM

from mbt_lite.errors import ModelError
from mbt_lite.generation import local
from mbt_lite.recipe.schema import Lora, Model
from mbt_lite.records import Message
from mbt_lite.student.adapters import to_lora_config


def test_read_counts_counts_as_the_student_reads(student_folder: Path) -> None:
    counts = local.read_counts(Model(name=str(student_folder)))
    prompt: list[Message] = [{"role": "user", "content": "Who?"}]
    assert counts.row(prompt, "four") == counts.prompt(prompt) + counts.text("four") + 1
    assert counts.text("four") == len(AutoTokenizer.from_pretrained(student_folder)("four")["input_ids"])
    assert not counts.prefills_think


def test_open_student_refuses_an_adapter_of_another_student_in_one_line(student_folder: Path, tmp_path: Path) -> None:
    larger = LlamaForCausalLM(tiny_config(AutoTokenizer.from_pretrained(student_folder), hidden_size=96))
    get_peft_model(larger, to_lora_config(Lora(rank=4, alpha=8))).save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelError, match=r"/adapter: cannot be loaded .*belongs to another model$") as caught:
        local.open_student(Model(name=str(student_folder), dtype="float32"), tmp_path / "adapter")
    assert "\n" not in str(caught.value)
