"""The journal of dev rewards and the adapters beside it, over scores that the test writes down."""

import io

import pytest

pytest.importorskip("peft", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from safetensors.torch import load_file
from toy_grpo import adapt
from transformers import TrainerState

from mbt_lite.console import Screen
from mbt_lite.files import Journal, read_jsonl
from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.generate import generate
from mbt_lite.memory import phase_of
from mbt_lite.prompts import student_messages
from mbt_lite.recipe.schema import Grpo, Reward, RewardWeights
from mbt_lite.records import Document, Question
from mbt_lite.rewards.terms import RewardLimits
from mbt_lite.training.dev_reward import BestByDev, score_greedily
from mbt_lite.training.grpo_rollouts import rows_beside_steps
from mbt_lite.training.pass_rates import measure_pass_rates


class Run:
    """Checkpoints with given rewards, right where `exact` says so; every adapter's first weight is its step."""

    def __init__(self, student, folder, rewards, by="reward", exact=()):
        self.student, self.rewards, self.exact, self.scored = student, rewards, exact, []
        self.best = BestByDev(student, folder, self.score, by, Screen(file=io.StringIO()))

    def score(self):
        self.scored.append(self.step)
        return {"reward": self.rewards[self.step], "exact": float(self.step in self.exact)}

    def go(self, *steps):
        for number, step in enumerate(steps):
            self.step = step
            with torch.no_grad():
                next(p for p in self.student.model.parameters() if p.requires_grad).fill_(float(step))
            event = self.best.on_save if number else self.best.on_train_begin
            event(None, TrainerState(global_step=step), None)
        return self


def step_in(folder):
    weights = load_file(folder / "adapter_model.safetensors")
    return max(float(weight.flatten()[0]) for weight in weights.values() if bool((weight == weight.flatten()[0]).all()))


@pytest.mark.parametrize(
    ("rewards", "best"),
    [({0: 0.5, 1: 0.4, 2: 0.3}, 0), ({0: 0.1, 1: 0.4, 2: 0.3}, 1), ({0: 0.1, 1: 0.4, 2: 0.4}, 2)],
    ids=["the start", "the middle", "of equals the later"],
)
def test_write_best_copies_the_adapter_of_the_best_step(student, tmp_path, rewards, best):
    run = Run(adapt(student), tmp_path, rewards).go(0, 1, 2)
    assert run.best.write_best(tmp_path / "adapter")["step"] == best
    assert step_in(tmp_path / "adapter") == best


def test_write_best_by_exact_match_leaves_the_reward_aside(student, tmp_path):
    run = Run(adapt(student), tmp_path, {0: 0.1, 1: 0.2, 2: 0.9}, "exact_match", exact=(1,)).go(0, 1, 2)
    assert run.best.write_best(tmp_path / "adapter")["step"] == 1
    assert step_in(tmp_path / "adapter") == 1


def test_best_adapter_keeps_what_a_resume_from_either_checkpoint_needs(student, tmp_path):
    rewards = {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4}
    adapt(student)
    Run(student, tmp_path, rewards).go(0, 1, 2, 3)
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == ["step-2", "step-3"]
    # checkpoint 3 was damaged: back to 2, and this time 3 is worse
    run = Run(student, tmp_path, rewards | {3: 0.0}).go(2, 3)
    assert [(row["step"], row["reward"]) for row in read_jsonl(tmp_path / "dev_rewards.jsonl")] == [
        (0, 0.1), (1, 0.2), (2, 0.3), (3, 0.0),
    ]  # fmt: skip
    assert run.best.write_best(tmp_path / "adapter")["step"] == 2
    assert step_in(tmp_path / "adapter") == 2


def test_best_adapter_scores_a_checkpoint_whose_score_a_kill_prevented(student, tmp_path):
    adapt(student)
    Run(student, tmp_path, {0: 0.1}).go(0)
    run = Run(student, tmp_path, {2: 0.3, 4: 0.2}).go(2, 4, 4)
    assert run.scored == [2, 4], "once a step"
    assert [row["step"] for row in read_jsonl(tmp_path / "dev_rewards.jsonl")] == [0, 2, 4]


@pytest.mark.parametrize(("samples", "longest", "rows"), [(8, 100, 32), (1, 100, 24), (1, 0, 32), (4, 900, 20)])
def test_what_is_rolled_out_beside_steps_keeps_no_more_than_a_step(student, monkeypatch, samples, longest, rows):
    """A step keeps 32 rows of 200 tokens and 9 prompts."""
    monkeypatch.setattr(type(student), "count_prompt_tokens", lambda student, prompt: longest)
    grpo = Grpo(group_size=8, rollout_batch_size=32, max_completion_tokens=200)
    assert rows_beside_steps(student, grpo, [[]], samples) == rows


def test_score_greedily_gives_the_means_of_the_law(student):
    """The independent route: the same completions, their lengths and the length term by hand."""
    questions = [
        Question(str(number), text, "x", (), (Document("a", "b", True),), "test")
        for number, text in enumerate(("we", "think about"))
    ]
    reward = Reward(weights=RewardWeights(answer=0.0, length=2.0), overlong_buffer_tokens=8)
    grpo = Grpo(max_completion_tokens=16, reward=reward)
    limits = RewardLimits(max_completion_tokens=16, verification_words=40, overlong_buffer_tokens=8)
    prompts = [student_messages(question) for question in questions]
    found = list(generate(student, prompts, Decoding(max_completion_tokens=16, batch_size=2)))
    lengths = [len(rollout.token_ids) for rollout in found]
    terms = [
        -1.0 if rollout.finish_reason == "length" else -max(0.0, length - 8) / 8
        for rollout, length in zip(found, lengths, strict=True)
    ]
    scored = score_greedily(student, questions, grpo, limits)
    assert scored["reward"] == pytest.approx(2 * sum(terms) / 2)
    assert scored["completion_tokens"] == sum(lengths) / 2
    assert (scored["questions"], scored["answer"], scored["exact"]) == (2, 0.0, 0.0)


@pytest.mark.parametrize("sampling", ["dev rewards", "pass rates"])
def test_running_out_of_memory_beside_steps_is_that_of_scoring(student, monkeypatch, tmp_path, sampling):
    def run_out(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("mbt_lite.generation.generate.RowSlots", run_out)
    question = Question("q", "we", "x", (), (Document("a", "b", True),), "test")
    grpo = Grpo(max_completion_tokens=16, reward=Reward(overlong_buffer_tokens=8))
    with Journal(tmp_path / "rates.jsonl") as journal:
        run = {
            "dev rewards": lambda: score_greedily(student, [question], grpo, RewardLimits(16, 40, 8)),
            "pass rates": lambda: measure_pass_rates(student, [question], grpo, journal, list),
        }[sampling]
        with pytest.raises(torch.OutOfMemoryError) as caught:
            run()
    assert phase_of(caught.value) == "scoring"
