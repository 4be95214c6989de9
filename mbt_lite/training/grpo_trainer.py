"""TRL's GRPOTrainer, reduced for one card (arXiv 2402.03300, 2503.14476).

Differs from TRL's in eight places, none of which changes the loss of the rows that are trained:
1. rollouts come from `generate` (the prompt of a group is computed once; completions are generated in bounded batches);
2. log-probabilities too compute the prompt of a group once (`packed_attention`), score completion tokens only
   (`lm_head`), and micro-batches hold neighbours, not shuffled rows: the gradient of a step is their sum in any order.
   unsloth shares a prompt between neighbours by its own means, where a micro-batch holds whole groups;
3. rows whose advantage is zero cost no forward or backward pass: their gradient is zero without a reference model;
4. a group whose rewards differ by less than 1e-6 has advantages of exactly zero: TRL's keep rounding noise;
5. a step without any such row leaves weights and optimizer untouched: momentum alone moves nothing;
6. where prompts are not shared, padding that all rows of a micro-batch share is cut away before the forward pass;
7. where they are, each LoRA layer is one operation in the model's precision (`lora_linear`), as in rollouts on a CPU;
8. a run that goes on from a checkpoint meets the questions in the order of a run that never stopped (`StepOrder`).
Under unsloth all but the first half of 2, and 7, act around its own loss; of 3, whole groups only, which it shares by.

In several processes each trains on its part of a step's groups. They wait for each other at the end of a step only,
where gradients and figures are averaged: in between they have different numbers of rows with something to learn.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerState
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from mbt_lite.memory import in_phase
from mbt_lite.training import packed_attention
from mbt_lite.training.batches import IGNORED
from mbt_lite.training.grpo_reward import LOG_PROBS
from mbt_lite.training.lean_model import make_lean
from mbt_lite.training.loss_scale import pass_dead_steps
from mbt_lite.training.mismatch import compared_rows, mismatch
from mbt_lite.training.named_phases import NamedPhases
from mbt_lite.training.processes import average_gradients, gather, own_slice

# rewards of a group that differ by less are equal: what is left is rounding
_EQUAL_BELOW = 1e-6


class StepOrder(RepeatSampler):
    """TRL's order of rows, which begins each epoch where it belongs; TRL's own repeats the first when a run goes on."""

    def __init__(self, *how: Any, steps_made: Callable[[], int]) -> None:
        super().__init__(*how)
        self.steps_made = steps_made

    def __iter__(self) -> Any:
        """Give the rows of an epoch."""
        if self.shuffle:
            assert self.seed is not None
            self.generator.manual_seed(self.seed)
            for _ in range(self.steps_made() // (self.num_samples // self.batch_size)):
                torch.randperm(self.num_samples, generator=self.generator)
        return super().__iter__()  # type: ignore[no-untyped-call]


class ReducedGRPOTrainer(NamedPhases, GRPOTrainer):
    """GRPOTrainer that trains on the rows with something to learn.

    `shares_prompts` needs a model of `shared_prefix.is_supported`, trained by transformers. `whole_groups`: rows of
    zero advantage stay beside rows of their group that have one.
    """

    # TRL sets these without types
    model: Any
    args: Any
    num_generations: int
    _buffered_inputs: Any

    def __init__(self, *args: Any, shares_prompts: bool, whole_groups: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shares_prompts = shares_prompts
        self.kept_together = self.num_generations if whole_groups else 1
        pass_dead_steps(self)
        if shares_prompts:
            make_lean(self.model, self.temperature)

    def _get_train_sampler(self, dataset: Any = None) -> StepOrder:
        made: Any = super()._get_train_sampler(dataset)
        repeats = (made.mini_repeat_count, made.batch_size, made.repeat_count)
        return StepOrder(made.data_source, *repeats, made.shuffle, made.seed, steps_made=lambda: self.state.global_step)

    def take_up_finished(self, checkpoint: Path) -> None:
        """Take up a run whose last step was made: adapter and state, but no training; transformers would add a step."""
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        self.control = self.callback_handler.on_train_begin(self.args, self.state, self.control)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Restore the trained adapter: beside a reference adapter, transformers restores that one only."""
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        adapted = self.accelerator.unwrap_model(self.model)
        if len(getattr(adapted, "peft_config", {})) > 1:
            adapted.load_adapter(resume_from_checkpoint, adapted.active_adapter, is_trainable=True)

    def _calculate_rewards(self, *columns: Any) -> Tensor:
        """Give the rewards of the whole step, which each process computes alike: a method compares its groups."""
        whole = [gather(column) for column in columns]
        # TRL joins what it takes for parts
        rewards: Tensor = super()._calculate_rewards(*whole)[: len(whole[0])]
        self._rewards_of_step = rewards
        return rewards

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        scored: dict[str, Any] = super()._generate_and_score_completions(inputs)
        equal = equal_groups(self._rewards_of_step.sum(dim=1), self.num_generations)
        own = equal.repeat_interleave(self.num_generations)[own_slice(len(scored["advantages"]))]
        scored["advantages"] = scored["advantages"].masked_fill(own, 0.0)
        self._metrics["train"]["zero_variance_share"].append(equal.float().mean().item())
        if LOG_PROBS in inputs[0]:
            self._tell_mismatch([row[LOG_PROBS] for row in inputs], scored)
        return scored

    def _tell_mismatch(self, sampled: Sequence[Sequence[float]], scored: dict[str, Any]) -> None:
        """Log how far the rollouts' log-probabilities are from training's, of a step's first groups."""
        theirs, ours = list[Tensor](), list[Tensor]()
        for start in range(0, compared_rows(len(sampled), self.num_generations), self.num_generations):
            group = slice(start, start + self.num_generations)
            # of one prompt: nothing is padded left, which unsloth would answer in columns of its own
            rows = without_shared_padding(_rows_at(scored, group))
            mask = rows["completion_mask"]
            ids, kept = (
                torch.cat([rows[f"prompt_{name}"], rows[f"completion_{name}"]], dim=1) for name in ("ids", "mask")
            )
            # as many rows at once as training holds
            size = self.args.per_device_train_batch_size
            with torch.no_grad(), in_phase("forward"):
                found, *_ = self._get_per_token_logps_and_entropies(self.model, ids, kept, mask.shape[1], size)
            ours.extend(row[real] for row, real in zip(found, mask.bool(), strict=True))
            theirs.extend(found.new_tensor(row, dtype=torch.double) for row in sampled[group])
        for name, figure in mismatch(theirs, ours).items():
            self._metrics["train"][name].append(figure)

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """Give the next micro-batch; TRL would shuffle the step's rows, which tears groups apart."""
        if not self.model.training:
            return super()._prepare_inputs(generation_batch)  # type: ignore[no-any-return]
        if self._step % self.args.steps_per_generation == 0 or self._buffered_inputs is None:
            scored = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = _micro_batches(scored, self.args.per_device_train_batch_size)
        batch: dict[str, Any] = self._buffered_inputs[self._step % self.args.steps_per_generation]
        return batch

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Train on a micro-batch; after the last of a step, average the gradients."""
        loss: Tensor = super().training_step(*args, **kwargs)
        if self.accelerator.num_processes > 1 and self.accelerator.sync_gradients:
            average_gradients(self.model.parameters())
        return loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log the figures of all processes' micro-batches."""
        figures, parts = self._metrics["train"], gather([dict(self._metrics["train"])])
        figures |= {name: [value for part in parts for value in part.get(name, ())] for part in parts for name in part}
        super().log(logs, *args, **kwargs)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """Give the loss of the rows that have one; zero, without a gradient, if none has."""
        rows = len(inputs["advantages"])
        if self.beta == 0.0:
            inputs = live_rows(inputs, self.kept_together)
        live = len(inputs["advantages"])
        if live == 0:
            # reaches no parameter: without any gradient the optimizer leaves weights and momentum alone
            return torch.zeros((), device=inputs["advantages"].device, requires_grad=True)
        with _alone(self.accelerator):
            # not the wrapped model: torch's would wait for the gradients of all processes
            loss: Tensor = super().compute_loss(self.model, without_shared_padding(inputs), *args, **kwargs)
        # these two divide by the number of rows they see; dapo divides by the tokens of the whole step
        return loss * (live / rows) if self.loss_type in ("grpo", "dr_grpo") else loss

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **others: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Give log-probabilities and entropies of completion tokens, zero at padding.

        Shapes: input_ids and attention_mask [B, S + T] -> [B, T] each, T = `logits_to_keep`
        """
        if not self.shares_prompts or compute_aux_loss:
            padded: Any = super()._get_per_token_logps_and_entropies
            found: tuple[Tensor, Tensor | None, Tensor | None] = padded(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size,
                compute_entropy,
                compute_aux_loss,
                **others,
            )
            return found
        size = batch_size or len(input_ids)
        parts = [
            self._score_packed(model, ids, mask, logits_to_keep)
            for ids, mask in zip(torch.split(input_ids, size), torch.split(attention_mask, size), strict=True)
        ]
        log_probs, entropies = (torch.cat(column) for column in zip(*parts, strict=True))
        return log_probs, entropies if compute_entropy else None, None

    def _score_packed(self, model: Any, ids: Tensor, mask: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """Score the completions of a batch in one packed forward pass. Shapes: [B, S + T] -> [B, T] twice."""
        completion_mask = mask[:, -width:].bool()
        packed, scored = pack_rows(ids, mask.bool(), width)
        # row by row, as `completion_mask` is read below
        labels = torch.full_like(packed.input_ids, IGNORED)
        labels[0, scored] = ids[:, -width:][completion_mask]
        with self.accelerator.autocast():
            output = model(**packed.forward_arguments(), shift_labels=labels, fused_lm_head=True)
        log_probs, entropies = (
            values.new_zeros(completion_mask.shape).masked_scatter(completion_mask, values[0, scored])
            for values in (output.log_probs, output.entropy)
        )
        return log_probs, entropies


@contextlib.contextmanager
def _alone(accelerator: Any) -> Iterator[None]:
    """Let a process compute its figures from its own rows: TRL's loss would meet the others in every micro-batch."""
    accelerator.gather = accelerator.reduce = lambda value, *args, **kwargs: value
    try:
        yield
    finally:
        del accelerator.gather, accelerator.reduce


def pack_rows(ids: Tensor, mask: Tensor, width: int) -> tuple[packed_attention.PackedSequence, Tensor]:
    """Pack left-padded prompts with right-padded completions; neighbours with one prompt share it.

    The last token of a prompt begins each of its completions instead: what it predicts differs between them. The last
    token of a completion predicts nothing, and is left out.

    Shapes: ids and mask [B, S + T], T = `width` -> the packed rows; the positions [L] that predict completion tokens
    """
    rows = []
    for row, kept in zip(ids.tolist(), mask.tolist(), strict=True):
        prompt = [token for token, real in zip(row[:-width], kept[:-width], strict=True) if real]
        completion = [token for token, real in zip(row[-width:], kept[-width:], strict=True) if real]
        assert prompt, "a prompt has at least one token"
        rows.append((prompt, completion))
    groups = [
        (prompt[:-1], [[prompt[-1], *completion[:-1]] for _, completion in group if completion])
        for prompt, group in itertools.groupby(rows, key=lambda row: row[0])
    ]
    packed = packed_attention.pack(groups, ids.device)
    scored: list[int] = []
    end = 0
    for shared, completions in groups:
        end += len(shared)
        count = sum(map(len, completions))
        scored.extend(range(end, end + count))
        end += count
    return packed, torch.tensor(scored, device=ids.device)


def equal_groups(rewards: Tensor, group_size: int) -> Tensor:
    """Tell which groups have no spread. Shapes: [P·G] -> [P]."""
    grouped = rewards.view(-1, group_size)
    return (grouped.amax(dim=1) - grouped.amin(dim=1)) < _EQUAL_BELOW


def _micro_batches(scored: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """Cut the rows of a step into micro-batches of neighbours; what is no row goes to each."""
    count = len(scored["advantages"])
    return [_rows_at(scored, slice(start, start + size)) for start in range(0, count, size)]


def live_rows(inputs: dict[str, Any], together: int = 1) -> dict[str, Any]:
    """Keep the rows whose advantage is not zero; of so many neighbours `together`, all or none.

    Rows that are no multiple of that many are cut groups, and stay or go one by one.
    """
    live = inputs["advantages"] != 0
    if len(live) % together == 0:
        live = live.view(-1, together).any(dim=1).repeat_interleave(together)
    return _rows_at(inputs, live)


def _rows_at(inputs: dict[str, Any], which: slice | Tensor) -> dict[str, Any]:
    """Take rows of every tensor that has one for each advantage, whoever added it."""
    count = len(inputs["advantages"])
    return {
        key: value[which] if isinstance(value, Tensor) and value.dim() and len(value) == count else value
        for key, value in inputs.items()
    }


def without_shared_padding(inputs: dict[str, Any]) -> dict[str, Any]:
    """Cut columns that are padding in every row: prompts are padded left, completions right."""
    start = int(inputs["prompt_mask"].any(dim=0).int().argmax())
    end = int(inputs["completion_mask"].any(dim=0).sum())
    cut = dict(inputs)
    for key in ("prompt_ids", "prompt_mask"):
        cut[key] = inputs[key][:, start:]
    for key in ("completion_ids", "completion_mask", "old_per_token_logps", "ref_per_token_logps"):
        if key in inputs:
            cut[key] = inputs[key][:, :end]
    return cut
