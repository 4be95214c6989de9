"""Phases by hand, and what must hold of them whatever the numbers."""

import dataclasses

import pytest

from mbt_lite.architecture.families import KNOWN
from mbt_lite.architecture.storage import nf4_weights
from mbt_lite.errors import ModelError
from mbt_lite.plan.activations import MicroBatch
from mbt_lite.plan.phases import (
    Setup,
    adapter,
    backward,
    beside_engine,
    engine_rollout,
    load,
    log_probs,
    merge,
    optimizer,
    phase,
    rollout,
    training,
)

GIB = 2**30
CARD = Setup(KNOWN["qwen3-4b"], "cuda", "transformers", 2, True, 32)
LAPTOP = Setup(KNOWN["smollm2-135m"], "cpu", "transformers", 2, True, 16)


def test_weights_of_qwen3_4b_in_4_bits() -> None:
    held = load(CARD).causes
    assert held["4-bit weights"] / GIB == pytest.approx(1.75, abs=0.01)
    assert held["weights"] / GIB == pytest.approx(0.72, abs=0.01)


def test_adapter_and_its_training_take_16_bytes_a_parameter() -> None:
    parameters = 66_060_288
    assert adapter(CARD) == {"adapter": 4 * parameters}
    assert training(CARD) == {"gradients": 4 * parameters, "optimizer": 8 * parameters}
    held = optimizer(CARD, rolls_out=False).causes
    assert held["adapter"] + held["gradients"] + held["optimizer"] == 16 * parameters


def shared(setup: Setup) -> int:
    step = rollout(setup, rows=16, samples=8, prompt_tokens=3072, completion_tokens=2048, has_adapter=True)
    return step.causes["KV cache"]


def test_rollouts_keep_a_prompt_once_for_its_group_but_not_under_unsloth() -> None:
    # five prompts may be under way in 16 rows of groups of 8
    assert shared(CARD) == (5 * 3072 + 16 * 2048) * 147_456
    assert shared(dataclasses.replace(CARD, backend="unsloth")) == 16 * (3072 + 2048) * 147_456


def test_sliding_layers_keep_their_window() -> None:
    gemma = Setup(KNOWN["gemma-3-1b"], "cuda", "transformers", 2, True, 32)
    step = rollout(gemma, rows=1, samples=1, prompt_tokens=100, completion_tokens=3900, has_adapter=False)
    per_layer = 2 * 256 * 2
    assert step.causes["KV cache"] == per_layer * (4 * 4000 + 22 * 512)


def test_rollouts_on_a_cpu_unpack_the_linear_layers() -> None:
    step = rollout(LAPTOP, rows=1, samples=1, prompt_tokens=10, completion_tokens=10, has_adapter=False)
    student = KNOWN["smollm2-135m"]
    # and the output head is laid out anew
    assert step.causes["rollout weights"] == 2 * (student.linear_weights + student.vocabulary * student.hidden)
    assert "rollout weights" not in load(LAPTOP).causes


def step_of(setup: Setup, **changed: int) -> int:
    settings = {"rows": 2, "tokens": 1000, "checkpointing": True} | changed
    batch = MicroBatch(settings["rows"], settings["tokens"], 500)
    return backward(setup, batch, checkpointing=settings["checkpointing"], rolls_out=False).bytes


@pytest.mark.parametrize("setup", [CARD, LAPTOP], ids=["card", "cpu"])
def test_backward_grows_with_rows_tokens_and_rank_and_shrinks_with_checkpointing(setup: Setup) -> None:
    here = step_of(setup)
    assert step_of(setup, rows=4) > here
    assert step_of(setup, tokens=2000) > here
    assert step_of(setup, checkpointing=False) > here
    assert step_of(dataclasses.replace(setup, rank=2 * setup.rank)) > here


def test_backward_in_16_bit_needs_more_weights_and_the_same_activations() -> None:
    packed, plain = (
        backward(
            dataclasses.replace(CARD, is_quantized=quantized), MicroBatch(1, 500, 500), checkpointing=True,
            rolls_out=False,
        ).causes
        for quantized in (True, False)
    )  # fmt: skip
    linear = KNOWN["qwen3-4b"].linear_weights
    assert plain["weights"] - packed["weights"] == 2 * linear
    assert packed["4-bit weights"] == nf4_weights(KNOWN["qwen3-4b"])
    assert plain["activations"] == packed["activations"]


def test_reference_model_is_a_second_adapter() -> None:
    assert log_probs(CARD, MicroBatch(1, 100, 50)).causes["adapter"] == 2 * adapter(CARD)["adapter"]


def test_merge_is_in_16_bits() -> None:
    assert merge(CARD).causes["weights"] == 2 * 4_022_468_096


def test_phase_adds_causes_and_drops_empty_ones() -> None:
    made = phase("x", {"a": 1, "b": 0}, {"a": 2})
    assert dict(made.causes) == {"a": 3}
    assert made.bytes == 3


def test_the_engine_holds_its_share_with_the_weights_in_it_and_no_cache_beside() -> None:
    setup = dataclasses.replace(CARD, backend="unsloth", engine_bytes=12 * GIB)
    causes = beside_engine(setup, engine_rollout(setup)).causes
    assert causes["vLLM"] + causes["4-bit weights"] + causes["weights"] == 12 * GIB
    assert causes["optimizer"] == 8 * 66_060_288
    assert set(causes) == {"vLLM", "4-bit weights", "weights", "adapter", "optimizer", "CUDA context"}
    assert beside_engine(CARD, load(CARD)) == load(CARD)
    with pytest.raises(ModelError, match=r"weights alone take 2.47 GiB \(got a share of 2.00 GiB\); raise it"):
        beside_engine(dataclasses.replace(setup, engine_bytes=2 * GIB), load(setup))
