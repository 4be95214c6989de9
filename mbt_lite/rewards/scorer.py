"""Score a batch of completions from their token ids, by the fastest form of the law that the machine has.

With CUDA, Triton and a byte-level vocabulary: the kernel. Else: the vectorised form on the CPU, over text that the
table of the vocabulary gives, or the tokenizer where there is no such table. Rows that a fast form marks are scored by
the law itself; `Scored.by_law` counts them. All give the same numbers.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from mbt_lite.rewards import law, vectorised
from mbt_lite.rewards.counts import to_terms
from mbt_lite.rewards.law import RewardLimits, Terms
from mbt_lite.rewards.vocabulary import decode_without_specials, read_vocabulary

if TYPE_CHECKING:
    import torch

    from mbt_lite.rewards.kernel import FusedKernel

Form = Literal["kernel", "vectorised"]


@dataclasses.dataclass(frozen=True, slots=True)
class Scored:
    """A scored batch: text, whether it stopped by itself and terms of each row; how many rows the law scored."""

    texts: list[str]
    stopped: list[bool]
    terms: list[Terms]
    by_law: int


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
        """Which form of the law counts."""
        return "vectorised" if self.kernel is None else "kernel"

    def score(self, ids: Sequence[Sequence[int]], golds: Sequence[Sequence[str]]) -> Scored:
        """Score B rows of unpadded ids, each ending with a stop token if it was reached."""
        launched = None if self.kernel is None else self.kernel.count(ids, golds)
        # the device counts while the texts are decoded for the log
        stopped = [bool(row) and row[-1] in self.stop_ids for row, _ in zip(ids, golds, strict=True)]
        texts = [self.decode(row[:-1] if done else row) for row, done in zip(ids, stopped, strict=True)]
        counts, needs_law = launched or vectorised.count(
            texts, stopped=stopped, tokens=list(map(len, ids)), golds=golds, prefilled_think=self.prefilled_think
        )
        columns = [column.tolist() for column in to_terms(counts, self.limits).values()]
        terms = [Terms(*row) for row in zip(*columns, strict=True)]
        marked = [row for row, needs in enumerate(needs_law.tolist()) if needs]
        for row in marked:
            terms[row] = law.score(
                texts[row],
                stopped=stopped[row],
                completion_tokens=len(ids[row]),
                golds=golds[row],
                limits=self.limits,
                prefilled_think=self.prefilled_think,
            )
        return Scored(texts, stopped, terms, len(marked))


def choose_scorer(
    tokenizer: Any, device: torch.device, stop_ids: frozenset[int], limits: RewardLimits, *, prefilled_think: bool
) -> Scorer:
    """Take the kernel where CUDA, Triton and the vocabulary allow it, else the vectorised form."""
    vocabulary = read_vocabulary(tokenizer)
    if vocabulary is None:
        return Scorer(functools.partial(decode_without_specials, tokenizer), stop_ids, limits, prefilled_think)
    kernel = None
    if device.type == "cuda" and importlib.util.find_spec("triton") is not None:
        from mbt_lite.rewards.kernel import FusedKernel

        kernel = FusedKernel(vocabulary, stop_ids, device, prefilled_think=prefilled_think)
    return Scorer(vocabulary.decode, stop_ids, limits, prefilled_think, kernel)
