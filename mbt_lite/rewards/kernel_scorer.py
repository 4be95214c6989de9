"""Launch the kernel: a batch of token ids to counts on the device, without waiting for it in between.

What depends on the vocabulary alone is put on the device once. A batch goes there as ids and golds; buffers are sized
by the longest row's bytes, which the host knows from its table of token lengths before anything is sent.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mbt_lite.rewards import kernel
from mbt_lite.rewards.characters import character_table
from mbt_lite.rewards.counts import Counts
from mbt_lite.rewards.vocabulary import Vocabulary
from mbt_lite.rewards.word_tables import GoldTable, cue_tables, gold_table
from mbt_lite.text.completion import THINK_OPEN

# Elements of a row that a program reads at once, and the side of the squares in which it compares words with words.
BLOCK, TILE = 1024, 64
# Sizes are multiples of this, so that a kernel is compiled once and not for every width.
_STEP = 128


class KernelScorer:
    """Counts rows on one device; `vocabulary` is the student's, `stop_ids` end a completion."""

    def __init__(
        self, vocabulary: Vocabulary, stop_ids: frozenset[int], device: torch.device, *, prefilled_think: bool = False
    ) -> None:
        lengths = [len(token) for token in vocabulary.tokens]
        self.device = device
        self.prefilled_think = prefilled_think
        self._token_lengths = np.array(lengths, np.int64)
        self._token_bytes = self._put(np.frombuffer(b"".join(vocabulary.tokens), np.uint8))
        self._token_starts = self._put(np.array([0, *itertools.accumulate(lengths)], np.int32))
        self._stop_ids = self._put(np.array(sorted(stop_ids), np.int32))
        self._characters = self._put(character_table())
        self._cue_hashes, self._cue_phases = map(self._put, _cue_arrays())

    def count(self, ids: Sequence[Sequence[int]], golds: Sequence[Sequence[str]]) -> tuple[Counts, Tensor]:
        """Count what the terms need of B rows of unpadded ids; mark those [B] that only the law can read.

        The results are on the device, and may not be there yet.
        """
        lengths = np.array([len(row) for row in ids], np.int32)
        width = _round_up(int(lengths.max()))
        padded = np.zeros((len(ids), width), np.int32)
        padded[np.arange(width) < lengths[:, None]] = np.fromiter(itertools.chain.from_iterable(ids), np.int32)
        return self.count_padded(self._put(padded), self._put(lengths), self._most_bytes(padded, lengths), golds)

    def count_padded(
        self, ids: Tensor, lengths: Tensor, most_bytes: int, golds: Sequence[Sequence[str]]
    ) -> tuple[Counts, Tensor]:
        """The same for ids on the device, whose rows have at most `most_bytes` bytes.

        Shapes: ids [B, T], lengths [B]
        """
        table = gold_table(golds)
        fields = self._launch(ids, lengths, _round_up(most_bytes + len(THINK_OPEN)), table)
        columns = dict(zip(kernel.FIELDS, fields.to(torch.float64).unbind(1), strict=True))
        names = [name for name in Counts.__dataclass_fields__ if name != "tokens"]
        needs_law = columns["needs_law"].bool() | self._put(table.needs_law[table.rows])
        return Counts(tokens=lengths.to(torch.float64), **{name: columns[name] for name in names}), needs_law

    def _launch(self, ids: Tensor, lengths: Tensor, width: int, golds: GoldTable) -> Tensor:
        """Launch the six stages; give the fields [B, F]."""
        rows, most_words = len(ids), width // 2 + 1
        text = _buffer((rows, width), torch.uint8, self.device)
        folded = _buffer((rows, width), torch.int16, self.device)
        begins, ends = (_buffer((rows, most_words), torch.int32, self.device) for _ in range(2))
        hashes = _buffer((rows, most_words), torch.int64, self.device)
        fields = _buffer((rows, len(kernel.FIELDS)), torch.int32, self.device)
        sizes: dict[str, Any] = {"F": len(kernel.FIELDS), "BLOCK": BLOCK}
        grid = (rows,)
        kernel.write_bytes[grid](
            ids, lengths, self._stop_ids, self._token_bytes, self._token_starts, text, fields,
            ids.shape[1], width, len(self._token_starts) - 1,
            STOPS=len(self._stop_ids), PREFILLED=self.prefilled_think, **sizes,
        )  # fmt: skip
        kernel.find_spans[grid](text, fields, width, **sizes)
        kernel.fold_characters[grid](text, self._characters, folded, fields, width, **sizes)
        kernel.find_words[grid](folded, begins, ends, fields, width, most_words, **sizes)
        kernel.hash_words[grid](folded, begins, ends, hashes, fields, width, most_words, **sizes)
        kernel.count_words[grid](
            hashes, self._put(golds.rows), self._put(golds.words.view(np.int64)), self._put(golds.ranks),
            self._put(golds.lengths), self._put(golds.mentionable.astype(np.int32)),
            self._cue_hashes, self._cue_phases, fields, most_words, *golds.words.shape[1:],
            LONGEST_CUE=self._cue_hashes.shape[0], CUES=self._cue_hashes.shape[1], TILE=TILE, **sizes,
        )  # fmt: skip
        return fields

    def _most_bytes(self, ids: np.ndarray, lengths: np.ndarray) -> int:
        """Give the bytes of the longest row; padding is token 0, so this may be a little more."""
        known = np.minimum(ids, len(self._token_lengths) - 1)
        return int((self._token_lengths[known] * (np.arange(ids.shape[1]) < lengths[:, None])).sum(1).max())

    def _put(self, array: Any) -> Tensor:
        """Send an array to the device without waiting for it."""
        return torch.from_numpy(np.array(array)).to(self.device, non_blocking=True)


def _buffer(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Make a buffer that holds anything; tests fill it with nonsense first."""
    return torch.empty(shape, dtype=dtype, device=device)


def _cue_arrays() -> tuple[np.ndarray, np.ndarray]:
    """Give the cues' hashes and phases [length, cues], padded to a power of two; the padding has no phase."""
    tables = cue_tables()
    widest = max(len(table.hashes) for table in tables)
    shape = (len(tables), 1 << (widest - 1).bit_length())
    hashes, phases = np.zeros(shape, np.int64), np.full(shape, -1, np.int32)
    for row, table in enumerate(tables):
        hashes[row, : len(table.hashes)] = table.hashes.view(np.int64)
        phases[row, : len(table.phases)] = table.phases
    return hashes, phases


def _round_up(size: int) -> int:
    return max(1, -(-size // _STEP)) * _STEP
