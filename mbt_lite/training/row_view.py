"""The first training row as a person reads it: what is trained and what is not, before an hour is spent on it."""

from __future__ import annotations

import itertools
from typing import Any

from rich.text import Text

from mbt_lite.console import Screen
from mbt_lite.training.rows import Row

# Longer stretches show their two ends.
MAX_CHARACTERS = 600
STYLES = {0: "dim", 1: "bold green"}
NAMES = {0: "no loss", 1: "trained"}


def show_row(row: Row, tokenizer: Any, console: Screen) -> None:
    """Print a row coloured by its mask; without a terminal, a line for each stretch."""
    stretches = stretches_of(row, tokenizer)
    counts = " + ".join(f"{count} {NAMES[mask]}" for mask, _, count in stretches)
    console.print(f"sft: first row, trace {row.trace_id}, tokens: {counts}")
    if console.is_terminal:
        console.print(Text.assemble(*((shorten(text), STYLES[mask]) for mask, text, _ in stretches)))
        return
    for mask, text, _ in stretches:
        console.print(f"  {NAMES[mask]}: {shorten(text)!r}", soft_wrap=True)


def stretches_of(row: Row, tokenizer: Any) -> list[tuple[int, str, int]]:
    """Give the stretches of equal mask: (mask, text with special tokens, tokens)."""
    pairs = zip(row.completion_mask, row.input_ids, strict=True)
    found = [
        (mask, [token for _, token in group]) for mask, group in itertools.groupby(pairs, key=lambda pair: pair[0])
    ]
    return [(mask, tokenizer.decode(ids), len(ids)) for mask, ids in found]


def shorten(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Keep the two ends of a long text.

    >>> shorten("abcdefghij", 4)
    'ab [... 6 characters ...] ij'
    """
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} [... {len(text) - 2 * half} characters ...] {text[-half:]}"
