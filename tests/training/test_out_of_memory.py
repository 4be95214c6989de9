import errno
import os
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch

from mbt_lite.errors import ModelError, TeacherError
from mbt_lite.memory import each_in_phase, in_phase, is_out_of_memory, phase_of
from mbt_lite.recipe.schema import Data, Gen, Grpo, Lora, Model, Questions, Recipe, Sft
from mbt_lite.training.out_of_memory import cheapest_cures, naming_out_of_memory


def recipe(**sections) -> Recipe:
    data = Data(train=Questions(path="train.jsonl"), dev=Questions(path="dev.jsonl"), max_prompt_tokens=300)
    return Recipe(**{"model": Model(name="tiny"), "data": data, **sections})


def ask_the_cpu_for_too_much() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def ask_cuda_for_too_much() -> None:
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 23.64 GiB of which ..."
    )


@pytest.mark.parametrize("ask", [ask_the_cpu_for_too_much, ask_cuda_for_too_much])
def test_phase_of_is_the_innermost_that_was_named(ask) -> None:
    with pytest.raises(RuntimeError) as caught, in_phase("backward"), in_phase("rollouts"):
        ask()
    assert is_out_of_memory(caught.value)
    assert phase_of(caught.value) == "rollouts"


def test_phase_of_is_training_where_none_was_named() -> None:
    with pytest.raises(RuntimeError) as caught:
        ask_the_cpu_for_too_much()
    assert phase_of(caught.value) == "training"


def test_in_phase_marks_no_other_error() -> None:
    with pytest.raises(RuntimeError) as caught, in_phase("load"):
        raise RuntimeError("shapes")
    assert phase_of(caught.value) == "training"


def test_each_in_phase_names_what_the_iteration_raises_and_nothing_that_its_user_does() -> None:
    def two():
        yield 1
        ask_the_cpu_for_too_much()

    with pytest.raises(RuntimeError) as caught:
        list(each_in_phase("rollouts", two)())
    assert phase_of(caught.value) == "rollouts"
    items = each_in_phase("rollouts", two)()
    assert next(items) == 1
    with pytest.raises(RuntimeError) as caught:
        ask_the_cpu_for_too_much()
    assert phase_of(caught.value) == "training"


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 64 bytes. Error code 12 (Cannot allocate memory)",
        "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to allocate 4 B.",
        "unable to mmap 536870912 bytes from file <model.safetensors>: Cannot allocate memory (12)",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "std::bad_alloc",
    ],
)
def test_is_out_of_memory_knows_what_the_allocators_write(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


CURES = {
    "sft, everything open": (
        recipe(sft=Sft(gradient_checkpointing=False, micro_batch_size=4)), "sft", "backward",
        ["switch on `sft.gradient_checkpointing` (got false)", "lower `sft.micro_batch_size` (got 4, starts sft anew)"],
    ),
    "sft, checkpointing is on": (
        recipe(sft=Sft(micro_batch_size=2, max_sequence_tokens=700)), "sft", "forward",
        ["lower `sft.micro_batch_size` (got 2, starts sft anew)",
         "lower `sft.max_sequence_tokens` (got 700, starts sft anew)"],
    ),
    "sft, row by row": (
        recipe(sft=Sft(micro_batch_size=1, max_sequence_tokens=700)), "sft", "backward",
        ["lower `sft.max_sequence_tokens` (got 700, starts sft anew)",
         "lower `lora.rank` (got 32, starts sft anew)"],
    ),
    "sft, dev loss": (
        recipe(sft=Sft(gradient_checkpointing=False, micro_batch_size=4)), "sft", "evaluation",
        ["lower `sft.micro_batch_size` (got 4, starts sft anew)",
         "lower `sft.max_sequence_tokens` (got 8192, starts sft anew)"],
    ),
    "optimizer": (
        recipe(lora=Lora(rank=64)), "sft", "optimizer",
        ["lower `lora.rank` (got 64, starts sft anew)", "take a smaller `model.name` (got tiny, starts sft anew)"],
    ),
    "load in 16 bit": (
        recipe(model=Model(name="tiny", quantization="none", dtype="float32")), "grpo", "load",
        ["set to nf4 `model.quantization` (got none, starts grpo anew)",
         "set to bfloat16 `model.dtype` (got float32, starts grpo anew)"],
    ),
    "rollouts": (
        recipe(grpo=Grpo(rollout_batch_size=64)), "grpo", "rollouts",
        ["lower `grpo.rollout_batch_size` (got 64)", "lower `grpo.max_completion_tokens` (got 2048, starts grpo anew)"],
    ),
    "dev rewards and pass rates": (
        recipe(grpo=Grpo(rollout_batch_size=64)), "grpo", "scoring",
        ["lower `grpo.rollout_batch_size` (got 64)", "lower `grpo.max_completion_tokens` (got 2048, starts grpo anew)"],
    ),
    "rollouts, one prompt at a time": (
        recipe(grpo=Grpo(rollout_batch_size=8, group_size=8)), "grpo", "rollouts",
        ["lower `grpo.max_completion_tokens` (got 2048, starts grpo anew)",
         "lower `data.max_prompt_tokens` (got 300, starts grpo anew)"],
    ),
    "grpo, backward": (
        recipe(grpo=Grpo(gradient_checkpointing=False)), "grpo", "backward",
        ["switch on `grpo.gradient_checkpointing` (got false)", "lower `grpo.micro_batch_size` (got 2)"],
    ),
    "gen": (
        recipe(gen=Gen(batch_size=16, rollouts_per_question=4)), "gen", "rollouts",
        ["lower `gen.batch_size` (got 16)", "lower `gen.max_completion_tokens` (got 2048, starts gen anew)"],
    ),
    "gen, one prompt at a time": (
        recipe(gen=Gen(batch_size=4, rollouts_per_question=4)), "gen", "rollouts",
        ["lower `gen.max_completion_tokens` (got 2048, starts gen anew)",
         "lower `data.max_prompt_tokens` (got 300, starts gen anew)"],
    ),
    "eval": (
        recipe(), "eval", "rollouts",
        ["lower `eval.batch_size` (got 16)", "lower `eval.max_completion_tokens` (got 2048, starts eval anew)"],
    ),
    "eval, outside of its rollouts": (
        recipe(), "eval", "training",
        ["lower `eval.batch_size` (got 16)", "lower `eval.max_completion_tokens` (got 2048, starts eval anew)"],
    ),
    "gen, one prompt at a time, outside of its rollouts": (
        recipe(gen=Gen(batch_size=4, rollouts_per_question=4)), "gen", "training",
        ["lower `gen.max_completion_tokens` (got 2048, starts gen anew)",
         "lower `data.max_prompt_tokens` (got 300, starts gen anew)"],
    ),
    "eval, load": (
        recipe(), "eval", "load",
        ["take a smaller `model.name` (got tiny, starts eval anew)"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CURES)
def test_cheapest_cures_are_the_first_two_that_are_open(case: str) -> None:
    whole, stage, phase, expected = CURES[case]
    assert cheapest_cures(whole, stage, phase) == expected


def test_naming_out_of_memory_says_phase_size_cures_and_what_is_kept(tmp_path: Path) -> None:
    whole = recipe(sft=Sft(gradient_checkpointing=False, micro_batch_size=2))
    with pytest.raises(ModelError) as caught, naming_out_of_memory(whole, "sft", tmp_path), in_phase("backward"):
        ask_cuda_for_too_much()
    assert str(caught.value) == (
        "sft backward: out of memory (tried to allocate 2.50 GiB); switch on `sft.gradient_checkpointing` (got false) "
        "or lower `sft.micro_batch_size` (got 2, starts sft anew); there is no checkpoint yet"
    )


def test_naming_out_of_memory_of_gen_says_that_completions_are_kept(tmp_path: Path) -> None:
    with (
        pytest.raises(ModelError, match=r"; what was completed is kept$"),
        naming_out_of_memory(recipe(), "gen", tmp_path),
        in_phase("rollouts"),
    ):
        ask_cuda_for_too_much()


@pytest.mark.parametrize("stage", ["gen", "sft", "grpo", "eval"])
@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))], ids=type)
def test_naming_out_of_memory_names_the_stage_alone_where_no_phase_was(
    tmp_path: Path, stage: str, error: Exception
) -> None:
    said = rf"^{stage}: out of memory; lower `{stage}\."
    with pytest.raises(ModelError, match=said), naming_out_of_memory(recipe(), stage, tmp_path):
        raise error


def test_naming_out_of_memory_is_not_for_a_server_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="CUDA"), naming_out_of_memory(recipe(), "gen", tmp_path):
        raise TeacherError("teacher.base_url: answers 500 (CUDA out of memory)")


def test_naming_out_of_memory_lets_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes"), naming_out_of_memory(recipe(), "sft", tmp_path):
        raise RuntimeError("shapes cannot be multiplied")
