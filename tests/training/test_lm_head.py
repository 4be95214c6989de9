"""The head against the plain softmax over all positions, values and gradients."""

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch

from mbt_lite.training import lm_head
from mbt_lite.training.lm_head import is_supported, token_log_probs


def plain(hidden, weight, targets, temperature=1.0):
    logs = ((hidden @ weight.T).float() / temperature).log_softmax(dim=1)
    log_probs = logs.gather(1, targets[:, None])[:, 0]
    return log_probs, -(logs.exp() * logs).sum(dim=1), (logs.argmax(dim=1) == targets).float()


def make(rows, vocabulary, dtype=torch.float32):
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, 16, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(vocabulary, 16, generator=generator).to(dtype)
    targets = torch.randint(vocabulary, (rows,), generator=generator)
    return hidden, weight, targets


@pytest.mark.parametrize("rows", [1, 7, 33])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("tile_entries", [1, 50, 400], ids=["a token a tile", "a token", "several tokens"])
def test_token_log_probs_equals_the_plain_softmax(rows, tile_entries, temperature, monkeypatch):
    monkeypatch.setattr(lm_head, "HEAD_TILE_ENTRIES", tile_entries)
    hidden, weight, targets = make(rows, 50)
    slopes = torch.linspace(-2, 3, rows)
    found, expected = (score(hidden, weight, targets, temperature) for score in (token_log_probs, plain))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(values[0], hidden, slopes)[0] for values in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_token_log_probs_of_a_sure_token_keep_a_gradient():
    """1 - p is rounded to the model's precision after the difference, not before."""
    hidden, weight, targets = make(1, 50, torch.bfloat16)
    with torch.no_grad():
        hidden[0] = weight[targets[0]] * 1.0
    found = torch.autograd.grad(token_log_probs(hidden, weight, targets)[0].sum(), hidden)[0].float()
    exact = hidden.detach().float().requires_grad_()
    expected = torch.autograd.grad(plain(exact, weight.float(), targets)[0].sum(), exact)[0]
    assert 0 < expected.norm() < 0.1
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.01 * float(expected.norm()))


def test_token_log_probs_of_no_token_is_nothing():
    hidden, weight, targets = make(0, 50)
    log_probs, entropy, is_top1 = token_log_probs(hidden, weight, targets)
    assert (log_probs.shape, entropy.shape, is_top1.shape) == ((0,), (0,), (0,))
    assert torch.autograd.grad(log_probs.sum(), hidden)[0].shape == (0, 16)


def test_token_log_probs_without_gradient_keeps_no_slopes():
    hidden, weight, targets = make(3, 50)
    assert not token_log_probs(hidden.detach(), weight, targets)[0].requires_grad


@pytest.mark.parametrize("name", lm_head.LOGIT_CHANGES)
def test_is_supported_leaves_changed_logits_to_trl(name, student):
    assert is_supported(student.model)
    setattr(student.model.config, name, 2.0)
    assert not is_supported(student.model)
