"""What gen shows at its end."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from mbt_lite.traces.tables import rejection_table, spread, usage_table


def lines(table: Table) -> list[list[str]]:
    out = io.StringIO()
    Console(file=out, width=120).print(table)
    return [line.strip("│┃").replace("┃", "│").split("│") for line in out.getvalue().splitlines() if "━" not in line]


def cells(table: Table) -> list[list[str]]:
    return [[cell.strip() for cell in row] for row in lines(table) if len(row) > 1]


def test_rejection_table_counts_reasons_and_second_tries() -> None:
    rows = [{"reason": "empty", "retried": True}, {"reason": "empty", "retried": False}]
    rows += [{"reason": "markdown", "retried": False}]
    assert cells(rejection_table(6, rows)) == [
        ["traces", "number", "share", "tried again"],
        ["accepted", "6", "75%", ""],
        ["empty", "1", "12%", "1"],
        ["markdown", "1", "12%", "0"],
    ]


def test_usage_table_shows_tokens_per_kind_of_request() -> None:
    account = {"requests": 1200, "prompt_tokens": 5, "completion_tokens": 6, "uncounted": 0}
    assert cells(usage_table({"mbt_s": account})) == [
        ["asked for", "requests", "prompt tokens", "completion tokens", "uncounted"],
        ["mbt_s", "1,200", "5", "6", "0"],
    ]


@pytest.mark.parametrize(
    ("rows", "taken"), [([], []), ([1], [1]), ([1, 2, 3], [1, 2, 3]), (list(range(7)), [0, 1, 2, 4, 5])]
)
def test_spread_takes_from_all_parts(rows: list[int], taken: list[int]) -> None:
    assert spread(rows) == taken


@given(st.integers(0, 200), st.integers(1, 9))
def test_spread_gives_distinct_rows_in_order(length: int, count: int) -> None:
    taken = spread(range(length), count)
    assert taken == sorted(set(taken))
    assert len(taken) == min(length, count)
