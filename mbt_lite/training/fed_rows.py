"""Which rows an optimizer step was fed: what to look at when its loss is no number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from mbt_lite.training.rows import Row


class FedRows(TrainerCallback):
    """Watch the token ids that reach the embedding, so that no batch has to carry names.

    However rows are batched, padded or packed, a row was in the step iff its ids stand in a row of what was fed.
    """

    def __init__(self, model: torch.nn.Module, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.fed: list[Tensor] = []
        embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
        embedding.register_forward_pre_hook(self._note)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Forget the step before."""
        self.fed.clear()

    def names(self) -> list[str]:
        """Give the trace ids of the rows of the step under way, in the order of the rows."""
        # searched as bytes of equal width: the ids of a row in one piece
        texts = [line.cpu().to(torch.int64).numpy().tobytes() for ids in self.fed for line in ids]
        wanted = [(row.trace_id, torch.tensor(row.input_ids).numpy().tobytes()) for row in self.rows]
        return [trace_id for trace_id, ids in wanted if any(ids in text for text in texts)]

    def _note(self, embedding: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # not those of a dev loss
        if embedding.training:
            self.fed.append(inputs[0])
