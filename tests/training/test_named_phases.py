"""Memory that runs out in a real step of a real trainer is marked with the phase it ran out in."""

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from toy_grpo import adapt, toy_trainer

from mbt_lite.memory import phase_of

ROWS = [([1, 2, 3], [4, 5], 1.0), ([1, 2, 3], [6], 0.0)] * 2


def run_out(*_, **__):
    torch.empty(2**60, dtype=torch.uint8)


class RunOutInBackward(torch.autograd.Function):
    @staticmethod
    def forward(context, value):
        return value * 1

    @staticmethod
    def backward(context, gradient):
        run_out()


def in_forward(trainer):
    trainer.model.register_forward_pre_hook(run_out)


def in_backward(trainer):
    head = trainer.model.get_base_model().get_output_embeddings()
    norm = trainer.model.get_base_model().model.norm
    assert head is not norm
    norm.register_forward_hook(lambda module, given, output: RunOutInBackward.apply(output))


def in_optimizer(trainer):
    # the optimizer's states are made in its first step
    hook = register_optimizer_step_pre_hook(run_out)
    return hook.remove


def while_saving(trainer):
    trainer.save_model = run_out


@pytest.mark.parametrize(
    ("break_it", "phase"),
    [(in_forward, "forward"), (in_backward, "backward"), (in_optimizer, "optimizer"), (while_saving, "save")],
    ids=["forward", "backward", "optimizer", "save"],
)
def test_a_step_that_runs_out_of_memory_says_where(student, tmp_path, break_it, phase):
    trainer = toy_trainer(adapt(student), tmp_path, lambda step: ROWS, save_strategy="steps", save_steps=1)
    mend = break_it(trainer)
    with pytest.raises(RuntimeError, match="can't allocate memory") as caught:
        trainer.train()
    if mend is not None:
        mend()
    assert phase_of(caught.value) == phase


def test_rollouts_that_run_out_of_memory_are_no_backward_pass(student, tmp_path):
    from mbt_lite.recipe.schema import Grpo
    from mbt_lite.training.grpo_rollouts import rollouts

    trainer = toy_trainer(adapt(student), tmp_path, lambda step: ROWS)
    trainer.rollout_func = rollouts(student, Grpo(group_size=2, rollout_batch_size=4, max_completion_tokens=4))
    student.model.get_base_model().model.register_forward_pre_hook(run_out)
    with pytest.raises(RuntimeError, match="can't allocate memory") as caught:
        trainer.train()
    assert phase_of(caught.value) == "rollouts"


def test_loading_that_runs_out_of_memory_says_so(student_folder, monkeypatch):
    from mbt_lite.recipe.schema import Model
    from mbt_lite.student import loading

    monkeypatch.setattr(loading, "close_cpu_repacking", run_out)
    with pytest.raises(RuntimeError, match="can't allocate memory") as caught:
        loading.load_student(Model(name=str(student_folder), quantization="none", dtype="float32"))
    assert phase_of(caught.value) == "load"
