"""Progress of work that takes more than a moment: a bar on a terminal, a line per quarter elsewhere."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mbt_lite.console import Screen


@contextlib.contextmanager
def counting(console: Screen, what: str, total: int) -> Iterator[Callable[[], None]]:
    """Lend a function to call after each of `total` pieces of work; nothing to do shows nothing."""
    if total == 0:
        yield lambda: None
        return
    if console.is_terminal:
        columns = (TextColumn(what, markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(what, total=total)
            yield lambda: progress.advance(task)
        return
    quarters = {math.ceil(total * quarter / 4) for quarter in range(5)}
    counted = itertools.count()

    def count() -> None:
        n_done = next(counted)
        if n_done in quarters:
            console.print(f"{what}: {n_done} of {total}")

    # the first call says that the work begins
    count()
    yield count


def time_text(seconds: float) -> str:
    """Write a time as a person says it.

    >>> time_text(42.4), time_text(90), time_text(7260)
    ('42 s', '2 min', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
