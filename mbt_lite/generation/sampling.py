"""Draw the next token of each row (greedy, temperature, top-k, nucleus), and say how likely the policy found it."""

from __future__ import annotations

import torch
from torch import Tensor

from mbt_lite.generation.decoding import Decoding


def sample(logits: Tensor, decoding: Decoding, generator: torch.Generator) -> Tensor:
    """Draw one token a row by the inverse of the cumulative distribution.

    One uniform number a row is enough; `torch.multinomial` would draw one for each entry of the vocabulary, which takes
    a sixth of a decoding step on a CPU.

    Shapes: logits [B, V] -> [B]
    """
    if decoding.temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits.float() / decoding.temperature
    tokens = None
    if decoding.top_k or decoding.top_p < 1:
        kept = decoding.top_k or logits.shape[-1]
        logits, tokens = logits.topk(min(kept, logits.shape[-1]), dim=-1)
    probabilities = logits.softmax(dim=-1).double()
    if decoding.top_p < 1:
        # sorted by topk: a token stays iff the mass before it is below top_p, so the first always stays
        before = probabilities.cumsum(dim=-1) - probabilities
        probabilities = probabilities.masked_fill(before >= decoding.top_p, 0.0)
    cumulative = probabilities.cumsum(dim=-1)
    uniform = torch.rand(logits.shape[0], 1, generator=generator, device=logits.device, dtype=torch.float64)
    drawn = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    # rounding may leave the mark at the very end: the last token with any mass is meant
    drawn = drawn.clamp(max=logits.shape[-1] - 1)
    return (drawn if tokens is None else tokens.gather(1, drawn)).squeeze(1)


def token_log_probs(logits: Tensor, tokens: Tensor, temperature: float) -> Tensor:
    """Give log softmax(logits / temperature) at each row's token, as TRL's trainer does; temperature 0 counts as 1.

    It is the policy's own probability: at other settings of top-k and top-p than "off" a token was drawn from fewer, so
    with a greater one.

    Shapes: logits [B, V], tokens [B] -> [B], float32
    """
    logits = logits.float() / (temperature or 1.0)
    return logits.gather(1, tokens[:, None]).squeeze(1) - logits.logsumexp(dim=-1)
