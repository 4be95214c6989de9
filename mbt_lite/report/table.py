"""The side-by-side table: variants as columns, metrics as rows, each number with its interval and its n.

The same rows feed the terminal and the HTML page. Input are the `metrics.json` values of `mbt_lite.metrics.aggregate`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mbt_lite.errors import DataError

Kind = Literal["share", "tokens", "score"]


@dataclasses.dataclass(frozen=True, slots=True)
class Measure:
    """One row of the table: a metric's key, its name for people, its unit and its meaning in a few words."""

    key: str
    label: str
    kind: Kind
    meaning: str


MEASURES = (
    Measure("exact_match", "exact match", "share", "the answer is a gold, but for case, punctuation and articles"),
    Measure("f1", "F1", "share", "words the answer shares with its best gold, against words of both"),
    Measure("substring_match", "substring match", "share", "a gold stands inside the answer"),
    Measure("answered", "answered", "share", "a closed <answer> after the trace"),
    Measure("stopped", "stopped", "share", "the model ended its turn by itself"),
    Measure("degenerate", "degenerate", "share", "did not stop by itself, or no closed answer"),
    Measure("completion_tokens", "tokens", "tokens", "mean completion length by the student's tokenizer"),
    Measure("answer_inclusive_error", "found and lost", "share", "wrong, though a gold stands in the trace"),
    Measure("answer_exclusive_error", "never found", "share", "wrong, and no gold in the trace, or no trace"),
    Measure("aes", "AES", "score", "accuracy gained and tokens saved against base in one number; above 0 is better"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One number as it is shown: `value` with its 95 % `interval`; `note` holds the n where it is not the column's."""

    value: str
    interval: str
    note: str


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One measure over all variants, in the order of the columns."""

    measure: Measure
    cells: tuple[Cell, ...]


def rows(metrics: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Give the rows of the table for variant -> metrics.json value; DataError names a metric that is missing."""
    return [Row(m, tuple(_cell(m, variant, value) for variant, value in metrics.items())) for m in MEASURES]


def _cell(measure: Measure, variant: str, metrics: Mapping[str, Any]) -> Cell:
    if measure.key == "aes":
        return _aes_cell(metrics["aes"], metrics["n_questions"])
    if measure.key not in metrics["metrics"]:
        raise DataError(
            f"metrics of variant {variant}: no metric {measure.key!r}; they were written by another version: "
            "run `mbt-lite eval` again, it scores the stored completions anew"
        )
    return _measured(measure.kind, metrics["metrics"][measure.key], metrics["n_questions"])


def _aes_cell(aes: Mapping[str, Any] | None, n_column: int) -> Cell:
    if aes is None:
        return Cell("-", "", "")
    if aes["mean"] is None:
        return Cell("undefined", "", "")
    return _measured("score", aes, n_column)


def _measured(kind: Kind, estimate: Mapping[str, Any], n_column: int) -> Cell:
    note = "" if estimate["n"] == n_column else f"n={estimate['n']}"
    if estimate["mean"] is None:
        return Cell("-", "", note)
    bounds = "" if estimate["low"] is None else f"[{shown(kind, estimate['low'])}, {shown(kind, estimate['high'])}]"
    sign = "+" if kind == "score" and estimate["mean"] > 0 else ""
    return Cell(sign + shown(kind, estimate["mean"], unit=True), bounds, note)


def shown(kind: Kind, value: float, *, unit: bool = False) -> str:
    """Write a number as its kind is read: shares in percent, tokens as integers, scores with two digits.

    >>> shown("share", 0.4688, unit=True), shown("share", 1.0), shown("tokens", 1342.4), shown("score", -0.5)
    ('46.9%', '100', '1,342', '-0.50')
    """
    if kind == "tokens":
        return f"{value:,.0f}"
    if kind == "score":
        return f"{value:.2f}"
    # 0 and 1 are exact: 99.96 % must not look like them
    digits = f"{100 * value:.0f}" if value in (0, 1) else f"{100 * value:.1f}"
    return f"{digits}%" if unit else digits


def to_table(metrics: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """Build the terminal table of variant -> metrics.json value, with its legend."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", no_wrap=True)
    for variant, value in metrics.items():
        table.add_column(f"{variant}\nn={value['n_questions']}", min_width=7)
    for row in rows(metrics):
        table.add_row(row.measure.label, *(_terminal_cell(cell) for cell in row.cells))
    meanings = [f"{measure.label}: {measure.meaning}" for measure in MEASURES]
    return Group(table, Text(), *(Text(line, "dim") for line in [*remarks(metrics), *meanings]))


def _terminal_cell(cell: Cell) -> Text:
    return Text(" ").join(
        Text(part, style)
        for part, style in ((cell.value, "bold"), (cell.interval, "dim"), (cell.note, "dim"))
        if part
    )  # fmt: skip


def remarks(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Give the lines under the table: what the brackets are, what is undefined and why, what was left out."""
    lines = ["[low, high]: 95 % interval (Wilson for shares, else bootstrap over questions); n: questions"]
    for variant, value in metrics.items():
        if value["aes"] is not None and value["aes"]["undefined_reason"] is not None:
            lines.append(f"AES of {variant}: {value['aes']['undefined_reason']}")
    left_out = max((len(value["left_out"]) for value in metrics.values()), default=0)
    if left_out:
        who = "1 question is" if left_out == 1 else f"{left_out} questions are"
        lines.append(f"{who} left out of all variants: the prompt is too long (eval/left_out.jsonl)")
    return lines
