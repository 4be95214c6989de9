"""Narrow tiles: the same log-probabilities and gradients, in less memory."""

import pytest
import torch
from trl.kernels.chunked_logprob import ChunkedLogProbFunction
from trl.trainer import utils

from mbt_lite.training.logit_tiles import CPU_TILE_ENTRIES, narrow_without_triton


def test_narrow_without_triton_sets_the_width_that_trl_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", 32768)
    narrow_without_triton()
    wanted = 32768 if torch.cuda.is_available() else CPU_TILE_ENTRIES
    assert wanted == utils._CHUNKED_LOGPROB_CHUNK_SIZE


def test_width_of_a_tile_changes_nothing_but_rounding() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(7, 16), torch.randn(10_000, 16)
    targets = torch.randint(10_000, (7,))

    def scored(width: int) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = hidden.clone().requires_grad_()
        log_probs = ChunkedLogProbFunction.apply(leaf, weight, None, targets, 1.0, width)[0]
        log_probs.sum().backward()
        return log_probs.detach(), leaf.grad

    for narrow, wide in zip(scored(CPU_TILE_ENTRIES), scored(32768), strict=True):
        torch.testing.assert_close(narrow, wide)
