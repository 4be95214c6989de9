"""Score a batch of completions from their token ids: by the law, on a GPU by its fused kernel.

The kernel needs CUDA, Triton and a byte-level vocabulary. It gives the law's numbers; rows that it marks, and terms
that it does not count, come from the law itself.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from mbt_lite.rewards import law
from mbt_lite.rewards.counts import to_terms
from mbt_lite.rewards.law import Terms
from mbt_lite.rewards.terms import TERMS, RewardLimits
from mbt_lite.rewards.vocabulary import decode_without_specials, read_vocabulary

if TYPE_CHECKING:
    import torch

    from mbt_lite.rewards.kernel import FusedKernel

Form = Literal["kernel", "law"]


@dataclasses.dataclass(frozen=True, slots=True)
class Scored:
    """A scored batch: text, whether it stopped by itself and terms of each row.

    `by_law`: rows that the kernel left to the law; None where the law scores all.
    """

    texts: list[str]
    stopped: list[bool]
    terms: list[Terms]
    by_law: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Scorer:
    """Scores batches; `decode` gives the text of token ids without special tokens."""

    decode: Callable[[Sequence[int]], str]
    stop_ids: frozenset[int]
    limits: RewardLimits
    prefilled_think: bool
    kernel: FusedKernel | None = None

    @property
    def form(self) -> Form:
        """What counts."""
        return "law" if self.kernel is None else "kernel"

    def score(self, ids: Sequence[Sequence[int]], golds: Sequence[Sequence[str]]) -> Scored:
        """Score B rows of unpadded ids, each ending with a stop token if it was reached."""
        launched = None if self.kernel is None else self.kernel.count(ids, golds)
        # meanwhile the device counts
        stopped = [bool(row) and row[-1] in self.stop_ids for row, _ in zip(ids, golds, strict=True)]
        texts = [self.decode(row[:-1] if done else row) for row, done in zip(ids, stopped, strict=True)]
        by_law = [
            functools.partial(self._by_law, text, done, len(row), accepted)
            for text, done, row, accepted in zip(texts, stopped, ids, golds, strict=True)
        ]
        if launched is None:
            return Scored(texts, stopped, [score() for score in by_law], None)
        counts, needs_law = launched
        columns = {name: column.tolist() for name, column in to_terms(counts, self.limits).items()}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        marked: list[bool] = needs_law.tolist()
        known = columns.keys() == TERMS.keys()
        terms = [
            score() if needs else counted if known else score() | counted
            for score, needs, counted in zip(by_law, marked, rows, strict=True)
        ]
        return Scored(texts, stopped, terms, sum(marked))

    def _by_law(self, text: str, stopped: bool, tokens: int, golds: Sequence[str]) -> Terms:
        return law.score(
            text,
            stopped=stopped,
            completion_tokens=tokens,
            golds=golds,
            limits=self.limits,
            prefilled_think=self.prefilled_think,
        )


def choose_scorer(
    tokenizer: Any, device: torch.device, stop_ids: frozenset[int], limits: RewardLimits, *, prefilled_think: bool
) -> Scorer:
    """Take the kernel where CUDA, Triton and the vocabulary allow it, else the law alone."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is not None:
        vocabulary = read_vocabulary(tokenizer)
        if vocabulary is not None:
            # triton is not there without CUDA
            from mbt_lite.rewards.kernel import FusedKernel

            kernel = FusedKernel(vocabulary, stop_ids, device, prefilled_think=prefilled_think)
            return Scorer(vocabulary.decode, stop_ids, limits, prefilled_think, kernel)
    return Scorer(functools.partial(decode_without_specials, tokenizer), stop_ids, limits, prefilled_think)
