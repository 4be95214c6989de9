"""The LM head at the trained positions only, each logit computed once.

TRL's fused head projects every position of a CPU batch, prompts and padding too, projects again in the backward pass
and multiplies the gradient in float32. The vocabulary is the largest matrix of a small model, so that is where a stock
run on a CPU loses most of its time. Here the positions without a label are left out, and the slope of each
log-probability is computed while its logits are there.

Differs from TRL's head: 1. the head is frozen (adapters never sit on it), so it gets no gradient; 2. a tile holds
whole vocabularies of some tokens, so nothing is summed over parts of a vocabulary; 3. entropies have no gradient: there
is no entropy bonus.

Notation: N trained positions, H hidden size, V vocabulary.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from torch import Tensor
from trl.trainer.utils import FusedCausalLMOutput

from mbt_lite.training.logit_tiles import HEAD_TILE_ENTRIES

# What a model may do to its logits after the projection; TRL's head knows how, this one does not.
LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


class _TokenLogProbs(torch.autograd.Function):
    """Log-probability of each target, with the gradient that its hidden state will need kept instead of the logits."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        count, vocabulary = len(hidden), weight.shape[0]
        rows = max(1, min(count, HEAD_TILE_ENTRIES // vocabulary))
        slopes = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        found = hidden.new_empty((3, count), dtype=torch.float32)
        # one place for all tiles: glibc's heap would not find that of a freed tile again
        wide, fine = (hidden.new_empty((rows, vocabulary), dtype=torch.float32) for _ in range(2))
        narrow = wide if hidden.dtype == wide.dtype else hidden.new_empty((rows, vocabulary))
        for start in range(0, count, rows):
            part = slice(start, min(start + rows, count))
            logits, probs, product = (place[: part.stop - start] for place in (wide, fine, narrow))
            torch.mm(hidden[part], weight.T, out=product)
            logits.copy_(product).div_(temperature)
            wanted = targets[part, None]
            target = logits.gather(1, wanted)
            top = logits.amax(dim=1, keepdim=True)
            torch.sub(logits, top, out=probs).exp_()
            total = probs.sum(dim=1, keepdim=True)
            probs /= total
            log_z = top + total.log()
            entropy = log_z - torch.linalg.vecdot(probs, logits)[:, None]
            found[:, part] = torch.cat([target - log_z, entropy, (target >= top).float()], dim=1).T
            if slopes is not None:
                # the slope at the logits is one-hot - p; rounded after the difference, so that sure tokens keep digits
                probs.scatter_add_(1, wanted, torch.full_like(target, -1.0))
                product.copy_(probs.div_(temperature))
                torch.mm(product, weight, out=slopes[part])
        if slopes is not None:
            ctx.save_for_backward(slopes)
        log_probs, entropy, is_top1 = found.unbind()
        ctx.mark_non_differentiable(entropy, is_top1)
        return log_probs, entropy, is_top1

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return (-grad[:, None] * slopes).to(slopes.dtype), None, None, None


def token_log_probs(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Give log-probability, entropy (nats, without gradient) and whether the target is the likeliest (0 or 1).

    Logits are divided by the temperature.
    Shapes: hidden [N, H], weight [V, H] (frozen), targets [N] -> [N] each, float32
    """
    return _TokenLogProbs.apply(hidden, weight, targets, temperature)  # type: ignore[no-untyped-call, no-any-return]


def is_supported(model: Any) -> bool:
    """Tell whether a model's logits are hidden states times the head's weight, and nothing else."""
    config = model.config.get_text_config()
    changes = [name for name in LOGIT_CHANGES if getattr(config, name, None) is not None]
    return not changes and not getattr(config, "output_router_logits", False) and model.lm_head.bias is None


def score_trained_positions(model: Any, temperature: float) -> None:
    """Put this head in the place of TRL's, behind the same call: `model(..., labels=..., fused_lm_head=True)`.

    As there, `shift_labels` in the place of `labels` are those of the positions themselves. Takes a model that TRL's
    trainer has prepared, without its peft wrapper. Every other call is as before.
    """
    before = model.forward

    @functools.wraps(type(model).forward)
    def forward(self: Any, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return before(*args, **kwargs)
        is_shifted = "shift_labels" in kwargs
        targets = kwargs.pop("shift_labels") if is_shifted else kwargs.pop("labels")[:, 1:]
        # one place less than hidden states, unless shifted
        hidden = self.base_model(*args, **kwargs).last_hidden_state[:, : targets.shape[1]]
        mask = targets != -100
        fields = token_log_probs(hidden[mask], self.get_output_embeddings().weight, targets[mask], temperature)
        log_probs, entropy, is_top1 = (field.new_zeros(mask.shape).masked_scatter(mask, field) for field in fields)
        return FusedCausalLMOutput(log_probs=log_probs, entropy=entropy, is_top1=is_top1, label_mask=mask)

    model.forward = types.MethodType(forward, model)
