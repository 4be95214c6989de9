"""What `gen` shows at its end: why traces were rejected, what the teacher's tokens went to, traces to read."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

SAMPLES = 5


def rejection_table(rejected: Sequence[Mapping[str, Any]]) -> Table:
    """Count the rows of `rejected.jsonl` by reason, and how many of them had another attempt."""
    table = Table("rejected because", "traces", "tried again")
    counts = collections.Counter(row["reason"] for row in rejected)
    again = collections.Counter(row["reason"] for row in rejected if row["retried"])
    for reason, count in counts.most_common():
        table.add_row(reason, str(count), str(again[reason]))
    return table


def usage_table(usage: Mapping[str, Mapping[str, int]]) -> Table:
    """Show requests and tokens per kind of request; replies without a count stand in a column of their own."""
    columns = ("requests", "prompt_tokens", "completion_tokens", "uncounted")
    table = Table("asked for", *(column.replace("_", " ") for column in columns))
    for kind, account in usage.items():
        table.add_row(kind, *(f"{account[column]:,}" for column in columns))
    return table


def spread(rows: Sequence[Any], count: int = SAMPLES) -> list[Any]:
    """Give up to `count` rows from all parts of a list, in order.

    >>> spread("abcdefghij", 5)
    ['a', 'c', 'e', 'g', 'i']
    """
    n_taken = min(count, len(rows))
    return [rows[place * len(rows) // n_taken] for place in range(n_taken)]
