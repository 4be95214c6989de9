"""Draw the next token of each row (greedy, temperature, top-k, nucleus), and say how likely the policy found it.

Each completion draws from a stream of its own, a counter hashed by splitmix64 (Steele et al., OOPSLA 2014,
doi 10.1145/2660193.2660195), so what it draws depends on no other row, on no schedule and on no device.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.nn import functional

from mbt_lite.generation.decoding import Decoding

_GAMMA, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
# The mass of so many tokens is summed up, then that of one such block token by token: two short sums for a long one.
_BLOCK = 256


def stream_key(seed: int, prompt: int, sample: int) -> int:
    """Give the key of a completion's stream, by its place among the prompts and the samples of its prompt."""
    digest = hashlib.blake2b(f"{seed} {prompt} {sample}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def uniform(keys: Tensor, steps: Tensor) -> Tensor:
    """Give the number in (0, 1] that a stream has at its step. Shapes: keys [B], steps [B], int64 -> [B], float64."""
    state = keys + (steps + 1) * _signed(_GAMMA)
    state = (state ^ _shifted(state, 30)) * _signed(_FIRST)
    state = (state ^ _shifted(state, 27)) * _signed(_SECOND)
    state = state ^ _shifted(state, 31)
    numbers: Tensor = (_shifted(state, 11) + 1).double() * 2.0**-53
    return numbers


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def _shifted(numbers: Tensor, bits: int) -> Tensor:
    """Shift to the right as if the numbers had no sign."""
    shifted: Tensor = (numbers >> bits) & (2 ** (64 - bits) - 1)
    return shifted


def sample(logits: Tensor, decoding: Decoding, numbers: Tensor) -> Tensor:
    """Draw one token a row by the inverse of the cumulative distribution; `numbers` in (0, 1] are not read if greedy.

    One uniform number a row is enough; `torch.multinomial` would draw one for each entry of the vocabulary, which takes
    a sixth of a decoding step on a CPU.

    Shapes: logits [B, V], numbers [B], float64 -> [B]
    """
    if decoding.temperature == 0:
        return logits.argmax(dim=-1)
    logits = _heated(logits, decoding.temperature)
    tokens = None
    if decoding.top_k or decoding.top_p < 1:
        kept = decoding.top_k or logits.shape[-1]
        logits, tokens = logits.topk(min(kept, logits.shape[-1]), dim=-1)
    probabilities = logits.softmax(dim=-1)
    if decoding.top_p < 1:
        # sorted by topk: a token stays iff the mass before it is below top_p, so the first always stays
        before = probabilities.double().cumsum(dim=-1) - probabilities
        probabilities = probabilities.masked_fill(before >= decoding.top_p, 0.0)
    drawn = _draw(probabilities, numbers[:, None])
    return (drawn if tokens is None else tokens.gather(1, drawn)).squeeze(1)


def _draw(probabilities: Tensor, numbers: Tensor) -> Tensor:
    """Give the first token up to which so much of the mass lies. Shapes: [B, V], numbers [B, 1] -> [B, 1]"""
    rows, size = probabilities.shape
    padding = -size % _BLOCK
    blocks = (functional.pad(probabilities, (0, padding)) if padding else probabilities).view(rows, -1, _BLOCK)
    ends = blocks.sum(dim=-1).double().cumsum(dim=-1)
    mark = numbers * ends[:, -1:]
    block = torch.searchsorted(ends, mark)
    mark = mark - functional.pad(ends, (1, 0)).gather(1, block)
    within = blocks.gather(1, block[..., None].expand(-1, -1, _BLOCK)).squeeze(1).double().cumsum(dim=-1)
    # the sums may differ in their last digits: never a token behind the last with any mass
    return block * _BLOCK + torch.searchsorted(within, mark.minimum(within[:, -1:]))


def token_log_probs(logits: Tensor, tokens: Tensor, temperature: float) -> Tensor:
    """Give log softmax(logits / temperature) at each row's token, as TRL's trainer does; temperature 0 counts as 1.

    It is the policy's own probability: at other settings of top-k and top-p than "off" a token was drawn from fewer, so
    with a greater one.

    Shapes: logits [B, V], tokens [B] -> [B], float32
    """
    logits = _heated(logits, temperature or 1.0)
    return logits.gather(1, tokens[:, None]).squeeze(1) - logits.logsumexp(dim=-1)


def _heated(logits: Tensor, temperature: float) -> Tensor:
    logits = logits.float()
    return logits if temperature == 1 else logits / temperature
