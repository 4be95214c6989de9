"""What `gen` shows at its end: why traces were rejected, what the teacher's tokens went to, traces to read."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

SAMPLES = 5


def rejection_table(accepted: int, rejected: Sequence[Mapping[str, Any]]) -> Table:
    """Show what became of traces: accepted, or rejected by reason, as shares of all, and what was tried again."""
    table = Table("traces", "number", "share", "tried again")
    counts = collections.Counter(row["reason"] for row in rejected if not row["retried"])
    again = collections.Counter(row["reason"] for row in rejected if row["retried"])
    total = accepted + counts.total()
    table.add_row("accepted", str(accepted), f"{accepted / total:.0%}", "")
    for reason in sorted(counts | again, key=lambda reason: (-counts[reason], reason)):
        table.add_row(reason, str(counts[reason]), f"{counts[reason] / total:.0%}", str(again[reason]))
    return table


def counted(counts: Mapping[str, int]) -> str:
    """Write counts, the largest first.

    >>> counted({"list": 1, "bold": 3})
    'bold 3, list 1'
    """
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


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
