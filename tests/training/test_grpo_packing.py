"""Log-probabilities with shared prompts against TRL's own padded pass."""

import pytest

pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from toy_grpo import adapt, gradients, toy_trainer
from trl import GRPOTrainer

from mbt_lite.training.grpo_trainer import pack_rows

LONG, SHORT, ONE = [5, 6, 7, 8, 9, 10], [20, 21, 22], [30]
# prompts of uneven length, one of a single token; completions of uneven length, one of a single token
ROWS = [
    (LONG, [40, 41, 42, 43], 1.0),
    (LONG, [44], 0.0),
    (SHORT, [45, 46], 0.5),
    (SHORT, [47, 48, 49, 50, 51], 0.0),
    (ONE, [52, 53, 54], 0.0),
    (ONE, [55, 56, 57], 2.0),
]


@pytest.fixture
def trainer(student, tmp_path):
    return toy_trainer(adapt(student), tmp_path, lambda step: ROWS, micro_batch_size=6)


def padded(rows):
    """Pad as TRL does: prompts on the left, completions on the right. Gives ids, mask and the completions' width."""
    prompts, completions = [row[0] for row in rows], [row[1] for row in rows]
    left, right = max(map(len, prompts)), max(map(len, completions))
    ids = [[0] * (left - len(p)) + p + c + [0] * (right - len(c)) for p, c in zip(prompts, completions, strict=True)]
    mask = [
        [0] * (left - len(p)) + [1] * (len(p) + len(c)) + [0] * (right - len(c))
        for p, c in zip(prompts, completions, strict=True)
    ]
    return torch.tensor(ids), torch.tensor(mask), right


def score(method, trainer, ids, mask, width, **others):
    """Give log-probabilities, entropies and the gradients of a sum that weighs each log-probability differently."""
    trainer.model.zero_grad()
    log_probs, entropies, _ = method(trainer, trainer.model, ids, mask, width, compute_entropy=True, **others)
    kept = mask[:, -width:].float()
    weight = torch.linspace(-1, 1, kept.numel()).view(kept.shape) * kept
    (log_probs * weight).sum().backward()
    return log_probs * kept, entropies * kept, gradients(trainer.model)


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ROWS[3:4] + ROWS[:2], ROWS[4:]], ids=["all", "one", "mixed", "short"])
def test_log_probs_and_gradients_equal_trls_padded_pass(trainer, rows):
    ids, mask, width = padded(rows)
    ours = score(type(trainer)._get_per_token_logps_and_entropies, trainer, ids, mask, width)
    trls = score(GRPOTrainer._get_per_token_logps_and_entropies, trainer, ids, mask, width)
    for mine, theirs in zip(ours[:2], trls[:2], strict=True):
        assert mine.abs().max() > 0
        assert torch.allclose(mine, theirs, atol=1e-5)
    assert ours[2].keys() == trls[2].keys()
    for name, gradient in ours[2].items():
        assert torch.allclose(gradient, trls[2][name], atol=2e-5, rtol=1e-4), name


def test_log_probs_in_chunks_equal_those_at_once(trainer):
    ids, mask, width = padded(ROWS)
    at_once, in_chunks = (
        score(type(trainer)._get_per_token_logps_and_entropies, trainer, ids, mask, width, batch_size=size)
        for size in (None, 4)
    )
    assert torch.allclose(at_once[0], in_chunks[0], atol=1e-6)


def test_log_probs_are_the_same_with_gradient_checkpointing(trainer):
    """Checkpointing runs the attention again in backward: the layout must still be there."""
    ids, mask, width = padded(ROWS)
    method = type(trainer)._get_per_token_logps_and_entropies
    plain = score(method, trainer, ids, mask, width)
    trainer.model.train()
    trainer.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    again = score(method, trainer, ids, mask, width)
    assert torch.equal(plain[0], again[0])
    assert all(torch.equal(gradient, again[2][name]) for name, gradient in plain[2].items())


def test_pack_rows_computes_each_prompt_once():
    ids, mask, width = padded(ROWS[:3])
    packed, scored = pack_rows(ids, mask.bool(), width)
    # LONG without its last token, two completions that begin with it, then SHORT alike; last tokens are left out
    assert packed.input_ids.tolist() == [[5, 6, 7, 8, 9, 10, 40, 41, 42, 10, 20, 21, 22, 45]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 8, 5, 0, 1, 2, 3]]
    assert scored.tolist() == [5, 6, 7, 8, 9, 12, 13]
