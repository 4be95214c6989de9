"""Narrower tiles of logits where there is no Triton.

TRL computes log-probabilities in tiles of at most 4,096 tokens by 32,768 entries of the vocabulary. On CUDA a kernel
folds a tile in place; elsewhere torch operations do, which hold eight tiles at once: 1 GiB for a thousand tokens. A
narrower tile changes the order of summation only, and is no slower.
"""

from __future__ import annotations

CPU_TILE_ENTRIES = 4096
# Logits of one tile of our own head (`lm_head`): 64 MiB in float32.
HEAD_TILE_ENTRIES = 1 << 24


def narrow_without_triton() -> None:
    """Set TRL's tile width for this process, if it has no CUDA device."""
    import torch
    from trl.trainer import utils

    if not torch.cuda.is_available():
        utils._CHUNKED_LOGPROB_CHUNK_SIZE = CPU_TILE_ENTRIES
