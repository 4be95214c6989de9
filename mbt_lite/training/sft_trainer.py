"""TRL's SFTTrainer on the same rows and steps, without the work that changes nothing.

Differs from TRL's in four places; loss and gradient of a step are the same up to rounding:
1. micro-batches hold their rows end to end instead of padded, and each row attends to itself alone;
2. the rows of an optimizer step are shared out evenly among its micro-batches;
3. on a CPU the head scores the trained positions only (on CUDA TRL's kernel does so already);
4. each LoRA layer is one operation in the model's precision, with its trained weights in float32.

unsloth brings its own trainer, loss and layers: with that backend TRL's trainer stays as unsloth patches it, but for
the count of tokens, which its loss leaves out. TRL's stays, too, for models that attend in another way than fully
(sliding windows, linear attention).
"""

from __future__ import annotations

from typing import Any

from trl import SFTTrainer

from mbt_lite.generation.shared_prefix import is_supported
from mbt_lite.student.loading import Student
from mbt_lite.training import packed_attention
from mbt_lite.training.batches import join_rows, share_out
from mbt_lite.training.lean_model import make_lean
from mbt_lite.training.named_phases import NamedPhases


class RowTrainer(NamedPhases, SFTTrainer):
    """SFTTrainer whose micro-batches come from `batches`; takes no other collator."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(data_collator=join_rows, **arguments)
        make_lean(self.model)

    def get_batch_samples(self, *arguments: Any, **keywords: Any) -> Any:
        """Collect the micro-batches of a step and share their rows out evenly."""
        batches, trained_tokens = super().get_batch_samples(*arguments, **keywords)
        return share_out(batches), trained_tokens

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **keywords: Any) -> Any:
        """Hand the lengths of the rows on as the layout that attention cuts by."""
        layout = packed_attention.end_to_end(inputs["row_lengths"].tolist())
        packed = packed_attention.PackedSequence(inputs["input_ids"], inputs["position_ids"], layout)
        inputs = {**packed.forward_arguments(), "labels": inputs["labels"]}
        return super().compute_loss(model, inputs, *arguments, **keywords)


class CountingTrainer(NamedPhases, SFTTrainer):
    """SFTTrainer as unsloth patches it, which counts the tokens of its rows as TRL's does."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **keywords: Any) -> Any:
        """Hand over, then count, unless TRL's loss was left in place and has; rows end to end have no mask."""
        ids, mask, before = inputs["input_ids"], inputs.get("attention_mask"), self._total_train_tokens
        loss = super().compute_loss(model, inputs, *arguments, **keywords)
        if self.model.training and self._total_train_tokens == before:
            self._total_train_tokens += int(ids.numel() if mask is None else mask.sum())
            self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        return loss


def choose_trainer(student: Student) -> type[SFTTrainer]:
    """Give the trainer that fits a student with an adapter."""
    if student.backend == "unsloth":
        return CountingTrainer
    return RowTrainer if is_supported(student.model.get_base_model()) else SFTTrainer
