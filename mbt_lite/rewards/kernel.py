"""The fused kernel: a batch of token ids to the reward law's counts on the device, in eight launches.

The number of launches does not depend on the batch, they read no text, and nothing waits in between: they follow each
other in the stream, so each sees what the ones before wrote. While the device counts, the scorer decodes the texts that
the log shows; the terms (counts.py, on the device too) then come back to be weighed and logged, and TRL sends the
rewards to the device once more, where it makes advantages of them. The stages:

1. `write_bytes`: token ids -> bytes, by the table of the vocabulary
2. `mark_tags`, `find_spans`: bytes -> where trace and answer begin and end
3. `fold_characters`, `mark_breaks`, `find_words`: bytes -> words, normalised
4. `hash_words`: words -> 64-bit hashes (word_hashes.py says which, and how likely a collision is)
5. `count_words`: hashes, golds -> counts

Exact for all of Unicode's first two planes but a few characters; a row with any other, or with broken UTF-8, is marked
for the law (characters.py). Without CUDA the same kernels run in Triton's interpreter, which is for tests.
"""

from __future__ import annotations

import array
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbt_lite.rewards import kernel_text, kernel_words
from mbt_lite.rewards.characters import character_table
from mbt_lite.rewards.counts import COUNT_NAMES, Counts
from mbt_lite.rewards.kernel_fields import FIELDS
from mbt_lite.rewards.vocabulary import Vocabulary
from mbt_lite.rewards.word_tables import GoldTable, gold_table
from mbt_lite.text.completion import THINK_OPEN

# Elements of a row that a program reads at once, and the side of the squares in which it compares words with words.
BLOCK, TILE = 512, 64
# Sizes are multiples of this, so that a kernel is compiled once and not for every width.
_STEP = 128


class FusedKernel:
    """The kernel with the tables of one vocabulary, put on the device once."""

    def __init__(
        self, vocabulary: Vocabulary, stop_ids: frozenset[int], device: torch.device, *, prefilled_think: bool
    ) -> None:
        lengths = [len(token) for token in vocabulary.tokens]
        self._device = device
        self._prefilled_think = prefilled_think
        self._unknown = len(lengths)
        self._token_lengths = np.array([*lengths, 0], np.uint16)
        self._token_bytes = self._put(np.frombuffer(b"".join(vocabulary.tokens), np.uint8))
        self._token_starts = self._put(np.array([0, *itertools.accumulate(lengths)], np.int32))
        self._stop_ids = self._put(np.array(sorted(stop_ids), np.int32))
        self._characters = self._put(character_table())

    def count(self, ids: Sequence[Sequence[int]], golds: Sequence[Sequence[str]]) -> tuple[Counts, Tensor]:
        """Count what the terms need of B rows of unpadded ids, and mark those [B] that only the law can read.

        A row's last token counts as its stop if it is one. The results may not be on the device yet when this returns.
        """
        # the quickest way from lists of numbers to an array
        joined = array.array("i")
        for row in ids:
            joined.fromlist(list(row))
        flat = np.frombuffer(joined, np.int32)
        starts = np.array([0, *itertools.accumulate(map(len, ids))], np.int32)
        bytes_before = np.concatenate([[0], np.cumsum(self._token_lengths[np.minimum(flat, self._unknown)])])
        most_bytes = int(np.diff(bytes_before[starts]).max())
        return self.count_flat(self._put(flat), self._put(starts), most_bytes, golds)

    def count_flat(
        self, ids: Tensor, starts: Tensor, most_bytes: int, golds: Sequence[Sequence[str]]
    ) -> tuple[Counts, Tensor]:
        """Do the same for ids that are on the device, row after row; no row has more than `most_bytes` bytes.

        Shapes: ids int32 [N], starts int32 [B + 1], the last one N
        """
        table = gold_table(golds)
        fields = self._launch(ids, starts, _round_up(most_bytes + len(THINK_OPEN)), table)
        columns = dict(zip(FIELDS, fields.double().unbind(1), strict=True)) | {"tokens": starts.diff().double()}
        needs_law = columns["needs_law"].bool() | self._put(table.needs_law[table.rows])
        return Counts(**{name: columns[name] for name in COUNT_NAMES}), needs_law

    def _launch(self, ids: Tensor, starts: Tensor, width: int, golds: GoldTable) -> Tensor:
        """Launch the stages on rows of at most `width` bytes; give the fields [B, F]."""
        rows, most_words = len(starts) - 1, width // 2 + 1
        text, tags, breaks = (self._buffer(rows, width, torch.uint8) for _ in range(3))
        folded = self._buffer(rows, width, torch.int16)
        begins, ends = (self._buffer(rows, most_words, torch.int32) for _ in range(2))
        hashes = self._buffer(rows, most_words, torch.int64)
        fields = self._buffer(rows, len(FIELDS), torch.int32)
        grid, blocks = (rows,), {"BLOCK": BLOCK, "num_warps": 8}
        kernel_text.write_bytes[grid](
            ids, starts, self._stop_ids, self._token_bytes, self._token_starts, text, fields,
            width, len(self._token_starts) - 1,
            STOPS=len(self._stop_ids), PREFILLED=self._prefilled_think, **blocks,
        )  # fmt: skip
        kernel_text.mark_tags[grid](text, tags, fields, width, **blocks)
        kernel_text.find_spans[grid](tags, fields, width, **blocks)
        kernel_text.fold_characters[grid](text, self._characters, folded, fields, width, **blocks)
        kernel_text.mark_breaks[grid](folded, breaks, fields, width, **blocks)
        kernel_text.find_words[grid](breaks, begins, ends, fields, width, most_words, **blocks)
        kernel_words.hash_words[grid](folded, begins, ends, hashes, fields, width, most_words, **blocks)
        kernel_words.count_words[grid](
            hashes, *self._put_golds(golds), fields, most_words, *golds.words.shape[1:], TILE=TILE, **blocks
        )
        return fields

    def _buffer(self, rows: int, width: int, dtype: torch.dtype) -> Tensor:
        """Make a buffer that holds anything; tests fill it with nonsense first."""
        return torch.empty((rows, width), dtype=dtype, device=self._device)

    def _put_golds(self, golds: GoldTable) -> tuple[Tensor, ...]:
        arrays = (golds.rows, golds.words.view(np.int64), golds.ranks, golds.lengths, golds.mentionable)
        return tuple(self._put(values) for values in arrays)

    def _put(self, values: NDArray[Any]) -> Tensor:
        """Send an array to the device; on the CPU, a copy that nobody else writes to."""
        return torch.from_numpy(values.copy()).to(self._device, non_blocking=True)


def _round_up(size: int) -> int:
    return max(1, -(-size // _STEP)) * _STEP
