"""The loss types against losses written down by hand, and what a step does to weights and probabilities."""

import pytest

pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from toy_grpo import adapt, gradients, toy_trainer, weights
from transformers import TrainerCallback
from trl import GRPOTrainer

from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.generate import complete
from mbt_lite.training.grpo_trainer import equal_groups

TEMPERATURE = 0.8
A, B, C = [5, 6, 7, 8, 9], [20, 21], [30, 31, 32]
# three groups of two; the middle one is dead; lengths 4 1, 2 3, 5 2
ROWS = [
    (A, [40, 41, 42, 43], 1.0), (A, [44], 0.0),
    (B, [45, 46], 0.7), (B, [47, 48, 49], 0.7),
    (C, [50, 51, 52, 53, 54], 0.0), (C, [55, 56], 3.0),
]  # fmt: skip
ADVANTAGES = [0.5, -0.5, 0.0, 0.0, -1.5, 1.5]
LENGTHS = [4, 1, 2, 3, 5, 2]
# weight of each completion's summed log-probability in the loss, by the papers' definitions
COEFFICIENTS = {
    # every token of the step counts alike (17 of them, those of the dead group too)
    "dapo": [a / 17 for a in ADVANTAGES],
    # mean over the 6 completions of the mean over their tokens
    "grpo": [a / length / 6 for a, length in zip(ADVANTAGES, LENGTHS, strict=True)],
    # a constant divisor: 6 completions of at most 8 tokens
    "dr_grpo": [a / (6 * 8) for a in ADVANTAGES],
}
# at a probability ratio of 1 a token's loss is minus its advantage
LOSSES = {
    "dapo": -(0.5 * 4 - 0.5 * 1 - 1.5 * 5 + 1.5 * 2) / 17,
    "grpo": 0.0,
    "dr_grpo": -(0.5 * 4 - 0.5 * 1 - 1.5 * 5 + 1.5 * 2) / 48,
}


class Seen(TrainerCallback):
    """Keep what the optimizer is about to use, and what is logged."""

    def __init__(self):
        self.gradients, self.weights, self.logs = [], [], []

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        self.gradients.append(gradients(model))

    def on_step_end(self, args, state, control, model=None, **_):
        self.weights.append(weights(model))

    def on_log(self, args, state, control, logs=None, **_):
        self.logs.append(logs)


def train(student, folder, rows, **settings):
    seen = Seen()
    settings = {"temperature": TEMPERATURE, "scale_rewards": "none", "max_grad_norm": 1e9} | settings
    toy_trainer(student, folder, rows, callbacks=[seen], **settings).train()
    return seen


def gradients_by_hand(student, coefficients):
    """The independent route: plain forward passes, one row at a time."""
    student.model.train().zero_grad()
    loss = torch.zeros(())
    for (prompt, completion, _), coefficient in zip(ROWS, coefficients, strict=True):
        logits = student.model(input_ids=torch.tensor([prompt + completion]), use_cache=False).logits[0]
        log_probs = (logits[len(prompt) - 1 : -1] / TEMPERATURE).log_softmax(-1)
        loss = loss - coefficient * log_probs.gather(1, torch.tensor(completion)[:, None]).sum()
    loss.backward()
    found = gradients(student.model)
    student.model.zero_grad()
    return found


@pytest.mark.parametrize("micro_batch_size", [2, 3, 6])
@pytest.mark.parametrize("loss_type", COEFFICIENTS)
def test_loss_types_equal_the_loss_by_hand(student, tmp_path, loss_type, micro_batch_size):
    adapt(student)
    expected = gradients_by_hand(student, COEFFICIENTS[loss_type])
    seen = train(student, tmp_path, lambda step: ROWS, loss_type=loss_type, micro_batch_size=micro_batch_size)
    assert seen.gradients[0].keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(seen.gradients[0][name], gradient, atol=2e-6, rtol=1e-4), name
    # logged with four digits
    assert seen.logs[0]["loss"] == pytest.approx(LOSSES[loss_type], abs=1e-4)
    assert seen.logs[0]["zero_variance_share"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("settings", [{}, {"beta": 0.1}], ids=["no reference", "reference"])
@pytest.mark.parametrize("shares_prompts", [True, False], ids=["shared", "padded"])
def test_a_step_equals_stock_trls(student, tmp_path, settings, shares_prompts):
    from copy import deepcopy

    adapt(student)
    twin = deepcopy(student)
    ours = train(student, tmp_path / "a", lambda step: ROWS, shares_prompts=shares_prompts, **settings)
    stock = train(twin, tmp_path / "b", lambda step: ROWS, trainer_class=GRPOTrainer, **settings)
    for name, gradient in stock.gradients[0].items():
        assert torch.allclose(ours.gradients[0][name], gradient, atol=2e-6, rtol=1e-4), name


LIVE = [(A, [40, 41], 1.0), (A, [42, 43], 0.0), (A, [44], 0.5)] * 2


@pytest.mark.parametrize(
    "rewards",
    [[0.1] * 6, [0.7, 0.7, 0.7, 2.0, 2.0, 2.0], [0.3, 0.3 + 4e-7, 0.3, 1.0, 1.0, 1.0]],
    ids=["one value", "two values", "less than a millionth apart"],
)
@pytest.mark.parametrize("shares_prompts", [True, False], ids=["shared", "padded"])
def test_equal_rewards_leave_the_weights_unchanged_to_the_bit(student, tmp_path, rewards, shares_prompts):
    """After a step that learned something: momentum and weight decay must not move them either."""
    equal = [(prompt, completion, reward) for (prompt, completion, _), reward in zip(LIVE, rewards, strict=True)]
    seen = train(
        adapt(student), tmp_path, lambda step: equal if step == 1 else LIVE,
        group_size=3, micro_batch_size=3, max_steps=3, weight_decay=0.1, shares_prompts=shares_prompts,
        scale_rewards="group",
    )  # fmt: skip
    first, second, third = seen.weights
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    assert not any(torch.equal(weight, third[name]) for name, weight in second.items())
    assert [logs["zero_variance_share"] for logs in seen.logs[:3]] == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(("reward", "direction"), [(1.0, 1), (-1.0, -1)], ids=["rewarded", "punished"])
def test_a_rewarded_token_becomes_likelier_and_a_punished_one_less_likely(student, tmp_path, reward, direction):
    token, prompt = 77, [5, 6, 7]
    adapt(student)

    def probability():
        with torch.no_grad():
            return float(student.model(input_ids=torch.tensor([prompt])).logits[0, -1].softmax(-1)[token])

    rows = [(prompt, [token], reward), (prompt, [78], 0.0), (prompt, [79], 0.0), (prompt, [80], 0.0)]
    before = probability()
    train(student, tmp_path, lambda step: rows, group_size=4, micro_batch_size=4, max_steps=5, temperature=1.0)
    after = probability()
    assert direction * (after - before) > 0.2 * before


def test_sampled_rollouts_with_a_reward_raise_the_reward(student, tmp_path):
    """The whole loop on the policy's own samples: one half of the vocabulary is worth one, the other nothing."""
    worth = student.model.get_output_embeddings().weight[:, 0] > 0
    adapt(student)
    prompts = [[5, 6, 7], [8, 9], [10, 11, 12, 13], [14]]
    shares = []

    def roll_out(step):
        decoding = Decoding(samples=8, temperature=1.0, max_completion_tokens=6, batch_size=32, seed=step)
        found = [ids for *_, (ids, _) in sorted(complete(student, prompts, decoding))]
        rewards = [float(worth[completion].float().mean()) for completion in found]
        shares.append(sum(rewards) / len(rewards))
        return [(prompts[row // 8], ids, reward) for row, (ids, reward) in enumerate(zip(found, rewards, strict=True))]

    train(student, tmp_path, roll_out, group_size=8, micro_batch_size=16, max_steps=12, temperature=1.0,
          learning_rate=5e-2)  # fmt: skip
    assert sum(shares[-3:]) / 3 > sum(shares[1:4]) / 3 + 0.15, shares


def test_equal_groups_are_those_within_a_millionth():
    rewards = torch.tensor([0.5, 0.5 + 5e-7, 0.5, 0.5 + 2e-6])
    assert equal_groups(rewards, 2).tolist() == [True, False]
