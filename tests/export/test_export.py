"""`mbt-lite export` on a run: what it writes is loaded by plain peft and transformers and gives the same logits."""

import json
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

pytest.importorskip("peft", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from typer.testing import CliRunner, Result

from mbt_lite import cli
from mbt_lite.model.student import load_student
from mbt_lite.recipe import schema

IDS = list(range(40, 72))
# Nothing of ours is imported here.
PLAIN = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, adapter, merged, ids, out = json.loads(sys.argv[1])
ids = torch.tensor([ids])
load = lambda folder: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
with torch.inference_mode():
    torch.save([load(merged)(ids).logits, PeftModel.from_pretrained(load(base), adapter).eval()(ids).logits], out)
assert not any(name.startswith("mbt_lite") for name in sys.modules)
"""
# Writes what llama.cpp's converter would say of the tokenizer, and one tensor.
CONVERTER = """
import argparse, json, pathlib
import numpy, gguf
parser = argparse.ArgumentParser()
parser.add_argument("folder", type=pathlib.Path), parser.add_argument("--outfile"), parser.add_argument("--outtype")
asked = parser.parse_args()
writer = gguf.GGUFWriter(asked.outfile, "llama")
writer.add_tokenizer_model("gpt2")
writer.add_eos_token_id(json.loads((asked.folder / "config.json").read_text())["eos_token_id"])
writer.add_chat_template((asked.folder / "chat_template.jinja").read_text())
writer.add_tensor("token_embd.weight", numpy.zeros((2, 2), dtype=numpy.float32))
writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
"""


def export(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["export", *map(str, arguments)])


def test_exports_are_loaded_by_plain_peft_with_the_logits_of_the_student(run_folder: Path, tmp_path: Path) -> None:
    base = run_folder.parent / "base"
    for form in ("adapter", "merged"):
        result = export(run_folder, "--format", form, "--out", tmp_path / form)
        assert result.exit_code == 0, result.output
    student = load_student(
        schema.Model(name=str(base), quantization="none", dtype="float32", backend="transformers"),
        run_folder / "sft/adapter",
    )
    with torch.inference_mode():
        ours = student.model.eval()(torch.tensor([IDS])).logits
    asked = json.dumps([str(base), str(tmp_path / "adapter"), str(tmp_path / "merged"), IDS, str(tmp_path / "logits")])
    subprocess.run([sys.executable, "-c", PLAIN, asked], cwd=tmp_path, check=True, capture_output=True)
    merged, adapter = torch.load(tmp_path / "logits")
    assert torch.allclose(adapter, ours, atol=1e-5)
    # 16-bit weights: eight bits of mantissa
    difference = (merged - ours).pow(2).mean().sqrt() / ours.std()
    assert 0 < difference < 0.03


def test_merged_card_tells_the_comparison_licence_data_and_template(run_folder: Path, tmp_path: Path) -> None:
    result = export(run_folder, "--format", "merged", "--stage", "sft", "--out", tmp_path / "merged")
    assert result.stdout.endswith(f"export: {tmp_path / 'merged'}\n")
    card = (tmp_path / "merged/README.md").read_text()
    for line in (
        "license: mit",
        "Merged model against the adapter on its 16-bit base: max abs difference 0.",
        "Merged model against the 4-bit student with the adapter, which was trained: max abs difference ",
        "2 traces by scripted, 2 of them by rules, not by a model",
        "variant: rslora",
        "(SHA-256 of the template: `",
        "transformers 5.",
    ):
        assert line in card
    config = json.loads((tmp_path / "merged/config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert not list(tmp_path.glob(".*")), "nothing half written is left"


def test_export_refuses_a_place_that_is_taken(run_folder: Path, tmp_path: Path) -> None:
    result = export(run_folder, "--format", "adapter", "--out", tmp_path)
    assert result.exit_code == 2
    assert result.stderr == f"{tmp_path}: is there already; remove it, or choose another place with --out\n"


def test_export_refuses_a_folder_that_is_no_run(tmp_path: Path) -> None:
    result = export(tmp_path, "--format", "adapter")
    assert result.exit_code == 2
    assert "not a run folder" in result.stderr


def test_export_refuses_a_stage_without_adapter(run_folder: Path) -> None:
    result = export(run_folder, "--format", "adapter", "--stage", "grpo")
    assert result.exit_code == 2
    assert result.stderr == f"{run_folder}: no adapter of grpo; finish that stage first\n"


def test_export_checks_the_disk_before_it_writes(run_folder: Path, tmp_path: Path, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 30, 1 << 30, 1 << 10))
    result = export(run_folder, "--format", "merged", "--out", tmp_path / "merged")
    assert result.exit_code == 2
    assert "0.00 GiB free; free some, or choose another disk with --out" in result.stderr
    assert not list(tmp_path.iterdir())


def test_export_refuses_a_merge_that_is_another_model(run_folder: Path, tmp_path: Path, monkeypatch) -> None:
    from mbt_lite.export import merge

    added = merge.Update.added_to
    monkeypatch.setattr(merge.Update, "added_to", lambda self, weight: added(self, weight) * 1.5)
    result = export(run_folder, "--format", "merged", "--out", tmp_path / "merged")
    assert result.exit_code == 2
    assert "the merged model is not the adapter on its base" in result.stderr
    assert not list(tmp_path.iterdir())


def test_export_gguf_converts_and_leaves_the_merged_model_out(run_folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "convert_hf_to_gguf.py"
    script.write_text(CONVERTER)
    result = export(run_folder, "--format", "gguf", "--converter", script, "--out", tmp_path / "gguf")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "gguf").iterdir()) == ["Modelfile", "README.md", "model.gguf"]
    card = (tmp_path / "gguf/README.md").read_text()
    assert "ollama create" in card
    assert "Merged model against the adapter on its 16-bit base" in card
