"""What a batch is compared with, as tables of word hashes: the golds of each row.

Shapes: Q different lists of golds, A golds in a list, J words in a gold; shorter ones are padded.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mbt_lite.rewards.mentions import is_mentionable
from mbt_lite.rewards.word_hashes import hash_word
from mbt_lite.text.normalize import normalize
from mbt_lite.text.numbers import is_number_gold

NO_GOLD = -1


@dataclasses.dataclass(frozen=True, slots=True)
class GoldTable:
    """The golds of a batch; rows of one group share a list."""

    rows: NDArray[np.int32]
    """List of each row [B]."""
    words: NDArray[np.uint64]
    """Word hashes [Q, A, J], 0 beyond the last word."""
    ranks: NDArray[np.int32]
    """How often the word stands earlier in the same gold [Q, A, J]."""
    lengths: NDArray[np.int32]
    """Words of each gold [Q, A], NO_GOLD beyond the last gold."""
    mentionable: NDArray[np.bool_]
    """Whether a gold can be mentioned [Q, A]; see mentions.py."""
    needs_law: NDArray[np.bool_]
    """Whether a list holds a gold that hashes cannot stand for: with a NUL character, or compared as a number [Q]."""


def gold_table(golds: Sequence[Sequence[str]]) -> GoldTable:
    """Tabulate the golds of B rows, at least one each."""
    lists = list(dict.fromkeys(map(tuple, golds)))
    number_of = {accepted: number for number, accepted in enumerate(lists)}
    forms = [[normalize(gold) for gold in accepted] for accepted in lists]
    numbers = [any(map(is_number_gold, accepted)) for accepted in lists]
    needs_law = np.array(["\0" in "".join(form) for form in forms]) | np.array(numbers)
    # what marks a list has no hash: its rows are the law's
    flat = [form.replace("\0", "") for accepted in forms for form in accepted]
    hashes = [[hash_word(word) for word in form.split()] for form in flat]
    shape = (len(lists), max(map(len, lists)), max(1, *map(len, hashes)))
    words, ranks = np.zeros(shape, np.uint64), np.zeros(shape, np.int32)
    lengths = np.full(shape[:2], NO_GOLD, np.int32)
    mentionable = np.zeros(shape[:2], np.bool_)
    places = ((q, a) for q, accepted in enumerate(forms) for a in range(len(accepted)))
    for place, form, gold in zip(places, flat, hashes, strict=True):
        words[place][: len(gold)] = np.array(gold, np.uint64)
        ranks[place][: len(gold)] = _ranks(gold)
        lengths[place] = len(gold)
        mentionable[place] = is_mentionable(form)
    rows = np.array([number_of[tuple(accepted)] for accepted in golds], np.int32)
    return GoldTable(rows, words, ranks, lengths, mentionable, needs_law)


def _ranks(words: Sequence[int]) -> list[int]:
    seen: Counter[int] = Counter()
    ranks = []
    for word in words:
        ranks.append(seen[word])
        seen[word] += 1
    return ranks
