"""The second backend beside the first, in unsloth's CPU mode; processes of their own, for unsloth patches libraries."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from mbt_lite.errors import ModelError
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.recipe.checks import VLLM_MAX_RANK
from mbt_lite.student import libraries, unsloth_backend

ROOT = Path(__file__).parents[2]
VARIANTS = ("lora", "rslora", "dora")
# Losses and weights of three steps in float32: the sums run in another order.
LOSS_TOLERANCE, WEIGHT_TOLERANCE = 2e-4, 2e-3
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("unsloth") is None, reason="needs the unsloth set: `make test-unsloth`"
    ),
]


# The base set's Python: without a GPU the trl that unsloth asks for trains through unsloth only.
PYTHON = {"transformers": os.environ.get("MBT_BASE_PYTHON", sys.executable), "unsloth": sys.executable}


def run(python: str, *command: str | Path) -> None:
    done = subprocess.run([python, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, student_folder: Path) -> Path:
    """Train a tiny 4-bit student by both backends on the same traces; a folder for each backend."""
    folder = tmp_path_factory.mktemp("both")
    sections = {
        "model": {"name": str(student_folder), "dtype": "float32"},
        "data": {
            "train": {"path": "data_samples/demo_train.jsonl", "limit": 12},
            "dev": {"path": "data_samples/demo_dev.jsonl", "limit": 2},
            "max_prompt_tokens": 512,
        },
        "lora": {"rank": 4, "alpha": 8},
        "gen": {"kind": "mbt_s"},
        "sft": {
            "learning_rate": 1e-3,
            "warmup_fraction": 0.0,
            "micro_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "max_sequence_tokens": 1024,
        },
    }
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(sections))
    run(sys.executable, "-m", "mbt_lite", "gen", recipe, "--out", folder / "run")
    for backend, python in PYTHON.items():
        script = Path(__file__).with_name("backend_steps.py")
        traces = folder / "run/gen/traces.jsonl"
        run(python, script, recipe, traces, backend, folder / backend, folder / "transformers")
    return folder


def test_both_backends_train_on_the_same_tokens_and_masks(both: Path) -> None:
    ours, theirs = (json.loads((both / backend / "rows.json").read_text()) for backend in ("transformers", "unsloth"))
    assert len(ours) > 8
    assert ours == theirs


@pytest.mark.parametrize("variant", VARIANTS)
def test_both_backends_give_the_same_losses_and_adapter(both: Path, variant: str) -> None:
    from safetensors.torch import load_file

    ends = [both / backend / variant / "continued" for backend in ("transformers", "unsloth")]
    ours, theirs = ([row["loss"] for row in read_jsonl(end / "metrics.jsonl") if "loss" in row] for end in ends)
    assert len(ours) == len(theirs) == 3
    assert ours[0] != ours[2], "nothing was learned: the test shows nothing"
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= LOSS_TOLERANCE
    ours, theirs = (load_file(end / "adapter/adapter_model.safetensors") for end in ends)
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) <= WEIGHT_TOLERANCE


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_fresh_adapter_of_unsloth_is_of_its_kind_in_float32_and_moves(both: Path, variant: str) -> None:
    import torch
    from safetensors.torch import load_file

    adapter = both / "unsloth" / variant / "fresh" / "adapter"
    config = read_json(adapter / "adapter_config.json")
    assert (config["use_rslora"], config["use_dora"]) == (variant == "rslora", variant == "dora")
    weights = load_file(adapter / "adapter_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert any("magnitude" in name for name in weights) == (variant == "dora")
    # B starts at zero
    moved = {name: bool(weight.any()) for name, weight in weights.items() if "lora_B" in name}
    assert len(moved) == 2 * 7
    assert all(moved.values())


def source(package: str, file: str) -> str:
    """Read a file of an installed package without importing it: vLLM and CUDA are not here."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return (Path(spec.submodule_search_locations[0]) / file).read_text(encoding="utf-8")


def arguments(text: str, *path: str) -> set[str]:
    """Give the names of the arguments of a function, or of a class's method, in a source text."""
    body = ast.parse(text).body
    for name in path:
        [node] = [each for each in body if isinstance(each, ast.ClassDef | ast.FunctionDef) and each.name == name]
        body = node.body
    assert isinstance(node, ast.FunctionDef)
    return {each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}


def test_load_names_arguments_that_unsloth_has(student_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = arguments(source("unsloth", "models/loader.py"), "FastLanguageModel", "from_pretrained")
    told: dict[str, Any] = {}

    def from_pretrained(name: str, **settings: Any) -> tuple[SimpleNamespace, None]:
        told.update(settings)
        return SimpleNamespace(), None

    fake = SimpleNamespace(FastLanguageModel=SimpleNamespace(from_pretrained=from_pretrained))
    monkeypatch.setitem(sys.modules, "unsloth", fake)
    for switch in libraries.ENGINE_SWITCHES:
        monkeypatch.setenv(switch, "1")
    with pytest.raises(ModelError, match="unsloth has no vLLM for this card or model"):
        unsloth_backend.load(
            str(student_folder), None, None, in_4bit=True, gradient_checkpointing=True,
            engine=unsloth_backend.Engine(0.4, 64, 8),
        )  # fmt: skip
    assert told.items() >= {"fast_inference": True, "gpu_memory_utilization": 0.4, "max_lora_rank": 8}.items()
    assert told["max_seq_length"] == 64
    assert all(os.environ[switch] == "0" for switch in libraries.ENGINE_SWITCHES)
    # it takes any other argument too, and drops it
    assert set(told) <= known


def test_the_engine_is_still_what_our_rollouts_use() -> None:
    llama, trainer = source("unsloth", "models/llama.py"), source("unsloth", "models/rl.py")
    vllm, peft = source("unsloth_zoo", "vllm_utils.py"), source("unsloth", "models/_utils.py")
    assert arguments(vllm, "load_lora") >= {"model", "save_directory", "load_tensors"}
    assert "model.fast_generate = model.vllm_engine.generate" in llama
    assert {
        "model.load_lora = functools.partial(load_lora, model)",
        "model.fast_generate = model.model.fast_generate",
    } < {line.strip() for line in peft.splitlines()}
    # a new id for each hand-over, or vLLM would keep the first adapter
    assert "LORA_REQUEST_ID += 1" in vllm
    # what hides the engine from the trainer has a reason
    assert "if hasattr(model, 'vllm_engine') and hasattr(args, 'use_vllm')" in trainer
    assert all(switch in vllm for switch in libraries.ENGINE_SWITCHES)
    ranks = next(line for line in vllm.splitlines() if line.strip().startswith("possible_max_ranks = ["))
    assert max(ast.literal_eval(ranks.partition("=")[2].strip())) == VLLM_MAX_RANK
