"""`mbt-lite export` on a run: what it writes is loaded by plain peft and transformers and gives the same logits."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

pytest.importorskip("peft", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from test_export_answers import answered
from tiny_base import make_run, save_base
from typer.testing import CliRunner, Result

from mbt_lite import cli
from mbt_lite.recipe import schema
from mbt_lite.student.loading import load_student

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


def export(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["export", *map(str, arguments)])


def test_exports_are_loaded_by_plain_peft_with_the_logits_of_the_student(run_folder: Path, tmp_path: Path) -> None:
    base = run_folder.parent / "base"
    for form in ("adapter", "merged"):
        result = export(run_folder, "--format", form, "--base", "original", "--out", tmp_path / form)
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
        "The adapter was trained around a 4-bit base (nf4): it is added to those rounded weights, in 16 bits.",
        "Logits, against the adapter on its 16-bit base: max abs difference ",
        "Logits, against the 4-bit student that was trained: max abs difference 0.",
        "Answers to 3 questions of eval, answered greedily: the trained student EM 0.0 %, answered 0.0 %, 12 tokens; "
        "what was exported, read back, EM 0.0 %, answered 0.0 %, 12 tokens; 100.0 % of the answers are equal.",
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


def rms_of(card: str, against: str) -> float:
    """Read the rms difference of a card's line."""
    found = re.search(rf"against {re.escape(against)}.*?rms ([\d.]+)", card)
    assert found is not None
    return float(found[1])


STUDENT, ORIGINAL = "the 4-bit student that was trained", "the adapter on its 16-bit base"


@pytest.mark.parametrize(("base", "near", "far"), [("trained", STUDENT, ORIGINAL), ("original", ORIGINAL, STUDENT)])
def test_export_is_near_the_base_that_was_chosen(base, near, far, run_folder: Path, tmp_path: Path) -> None:
    result = export(run_folder, "--format", "merged", "--base", base, "--verify", 0, "--out", tmp_path / "merged")
    assert result.exit_code == 0, result.output
    card = (tmp_path / "merged/README.md").read_text()
    assert rms_of(card, near) < rms_of(card, far) / 4
    assert "Its answers were not compared (`--verify 0`)." in card


def test_bases_are_one_for_a_student_in_16_bits(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    run = make_run(tmp_path / "run", schema.Model(name=str(base), dtype="float32", quantization="none"), "dora")
    for chosen in ("trained", "original"):
        result = export(run, "--format", "merged", "--base", chosen, "--verify", 0, "--out", tmp_path / chosen)
        assert result.exit_code == 0, result.output
    for shard in (tmp_path / "trained").glob("*.safetensors"):
        assert shard.read_bytes() == (tmp_path / "original" / shard.name).read_bytes()
    assert "was trained on the 16-bit base, and is added to it" in (tmp_path / "trained/README.md").read_text()


def test_export_refuses_answers_of_another_model(run_folder: Path, tmp_path: Path, monkeypatch) -> None:
    right, wrong = (answered([(value, 1, 9)] * 3) for value in (1, 0))
    answers = "mbt_lite.export.run.answers_of_student"
    monkeypatch.setattr(answers, lambda model, adapter, trial: right if adapter else wrong)
    refused = export(run_folder, "--format", "merged", "--base", "original", "--out", tmp_path / "merged")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("export: it answers otherwise than what was trained (3 questions of eval, ")
    assert refused.stderr.endswith("0.0 % of the answers are equal); use --base trained, or --verify 0\n")
    assert not list(tmp_path.iterdir())


def test_an_export_is_evaluated_by_the_command_on_its_card(run_folder: Path, tmp_path: Path, monkeypatch) -> None:
    assert export(run_folder, "--format", "merged", "--verify", 0, "--out", tmp_path / "merged").exit_code == 0
    card = (tmp_path / "merged/README.md").read_text()
    found = re.search(r"^mbt-lite (eval .+)$", card, re.MULTILINE)
    assert found is not None
    recipe = run_folder / "recipe.resolved.json"
    arguments = found[1].replace("RECIPE", str(recipe)).replace("THIS_FOLDER", str(tmp_path / "merged"))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.app, shlex.split(arguments))
    assert result.exit_code == 0, result.output
    scored = tmp_path / "runs/exported/eval/base/metrics.json"
    assert json.loads(scored.read_text())["n_questions"] == 3
