"""The reward law over a whole batch at once, on the CPU: the same numbers as law.py, many rows at a time.

Stages, the kernel's too: text -> spans (trace, answer) -> word hashes -> counts -> terms. Texts are cut by the law's
own parser, words are compared as 64-bit hashes (word_hashes.py), and everything is counted over arrays.
Shapes: B rows, T words of the longest trace, S words of the longest answer, Q, A, J as in word_tables.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mbt_lite.rewards.counts import Counts
from mbt_lite.rewards.terms import NGRAM_WORDS
from mbt_lite.rewards.word_hashes import Hashes, extend_sequence, fold, hash_words
from mbt_lite.rewards.word_tables import GoldTable, gold_table
from mbt_lite.text.completion import ParsedCompletion, parse_completion


def count(
    texts: Sequence[str],
    *,
    stopped: Sequence[bool],
    tokens: Sequence[int],
    golds: Sequence[Sequence[str]],
    prefilled_think: bool = False,
) -> tuple[Counts, NDArray[np.bool_]]:
    """Count what the terms need of B rows, and mark those [B] that only the law can read: with a NUL character.

    The arguments are those of `law.score`, one of each per row.
    """
    table = gold_table(golds)
    needs_law = np.array(["\0" in text for text in texts]) | table.needs_law[table.rows]
    parsed = [parse_completion(text, prefilled_think=prefilled_think) for text in texts]
    traces, answers = _read_words(parsed, needs_law)
    is_answered = np.array([row.answer is not None for row in parsed])
    shared, both = _best_overlap(answers, table, is_answered)
    fields = {
        "tokens": np.array(tokens),
        "stopped": np.array(stopped),
        "well_formed": np.array([row.is_well_formed for row in parsed]),
        "exact": _exact(answers, table, is_answered),
        "shared_words": shared,
        "both_words": both,
        "trace_words": traces.lengths,
        "mention_words": _words_through_mention(traces, table),
        "repeated_ngrams": _repeated_ngrams(traces),
    }
    return Counts(**{name: field.astype(np.float64) for name, field in fields.items()}), needs_law


class _Rows:
    """Word hashes as a matrix, 0 beyond a row's last word; `margin` more columns are always 0."""

    def __init__(self, hashes: Hashes, lengths: NDArray[np.int64], margin: int) -> None:
        width = int(lengths.max()) + margin
        self.lengths = lengths
        self.words = np.zeros((len(lengths), width), np.uint64)
        self.words[np.arange(width) < lengths[:, None]] = hashes


def _read_words(parsed: Sequence[ParsedCompletion], skipped: NDArray[np.bool_]) -> tuple[_Rows, _Rows]:
    """Give the words of the traces [B, T] and of the answers [B, S]; a skipped row has none."""
    spans = [*(row.trace or "" for row in parsed), *(row.answer or "" for row in parsed)]
    folded = [b"" if skip else fold(span) for span, skip in zip(spans, [*skipped] * 2, strict=True)]
    hashes, lengths = hash_words(folded)
    rows = len(parsed)
    in_traces = int(lengths[:rows].sum())
    # a 4-gram is read from every place, the last word's too
    return _Rows(hashes[:in_traces], lengths[:rows], NGRAM_WORDS), _Rows(hashes[in_traces:], lengths[rows:], 0)


def _exact(answers: _Rows, table: GoldTable, is_answered: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell [B] whether the answer's words are those of a gold, in order."""
    width = min(answers.words.shape[1], table.words.shape[2])
    same = (answers.words[:, None, :width] == table.words[table.rows][:, :, :width]).all(2)
    is_exact: NDArray[np.bool_] = is_answered & (same & (answers.lengths[:, None] == table.lengths[table.rows])).any(1)
    return is_exact


def _best_overlap(
    answers: _Rows, table: GoldTable, is_answered: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give shared words and both sides' words [B] for the gold with the best F1.

    A gold's word is shared iff the answer holds it more often than the gold did before.
    """
    shared, both = np.zeros(len(is_answered), np.int64), np.ones(len(is_answered), np.int64)
    for gold in range(table.words.shape[1]):
        words, lengths = table.words[table.rows, gold], table.lengths[table.rows, gold]
        found = (answers.words[:, None, :] == words[:, :, None]).sum(2)
        is_shared = (words != 0) & (found > table.ranks[table.rows, gold])
        total = answers.lengths + lengths
        candidate = np.where(total == 0, 1, is_shared.sum(1))
        total = np.where(total == 0, 2, total)
        better = is_answered & (lengths >= 0) & (candidate * both > shared * total)
        shared, both = np.where(better, candidate, shared), np.where(better, total, both)
    return shared, both


def _words_through_mention(traces: _Rows, table: GoldTable) -> NDArray[np.int64]:
    """Count the words [B] of the trace through the first mention of a gold; 0 without a mention."""
    never = np.iinfo(np.int64).max
    first = np.full(len(traces.lengths), never)
    for gold in range(table.words.shape[1]):
        words, lengths = table.words[table.rows, gold], table.lengths[table.rows, gold]
        begins = (traces.words == words[:, :1]) & table.mentionable[table.rows, gold][:, None]
        rows, places = np.nonzero(begins)
        for offset in range(1, words.shape[1]):
            goes_on = offset < lengths[rows]
            place = np.minimum(places + offset, traces.words.shape[1] - 1)
            matches = ~goes_on | (traces.words[rows, place] == words[rows, offset])
            rows, places = rows[matches], places[matches]
        np.minimum.at(first, rows, places + lengths[rows])
    return np.where(first == never, 0, first)


def _repeated_ngrams(traces: _Rows) -> NDArray[np.int64]:
    """Count the word 4-grams [B] of the trace that occurred earlier in it."""
    width = traces.words.shape[1] - NGRAM_WORDS + 1
    hashes = traces.words[:, :width]
    for offset in range(1, NGRAM_WORDS):
        hashes = extend_sequence(hashes, traces.words[:, offset : offset + width])
    ngrams = np.maximum(traces.lengths - NGRAM_WORDS + 1, 0)
    # Places beyond the last 4-gram sort to the end, where the comparison leaves them out.
    hashes[np.arange(width) >= ngrams[:, None]] = np.iinfo(np.uint64).max
    hashes.sort(axis=1)
    same_as_before = hashes[:, 1:] == hashes[:, :-1]
    repeated: NDArray[np.int64] = (same_as_before & (np.arange(1, width) < ngrams[:, None])).sum(1)
    return repeated
