"""The side-by-side table: series as columns, metrics as rows, each number with its interval and its n.

The same rows feed the terminal and the HTML page. Input are the `metrics.json` values of `mbt_lite.metrics.aggregate`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from mbt_lite.errors import DataError
from mbt_lite.report.measures import (
    AT_K,
    BY_RULE,
    CALIBRATION,
    FORESIGHT,
    JUDGED,
    MEASURES,
    READINGS,
    STEPS,
    WITHOUT_EVIDENCE,
    Kind,
    Measure,
)

Group = Literal["answers", "confidence", "traces", "judged"]
GROUPS: tuple[Group, ...] = ("answers", "confidence", "traces", "judged")
Metrics = Mapping[str, Mapping[str, Any]]

# characters: what most rows need, so that four series fit into 100
LABEL_WIDTH, SERIES_WIDTH = 18, 20


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One number as it is shown: `value` with its 95 % `interval`; `note` holds the n where it is not the column's."""

    value: str
    interval: str
    note: str


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One measure over all variants, in the order of the columns; what it is a measure of is its group."""

    measure: Measure
    cells: tuple[Cell, ...]
    group: Group = "answers"


def rows(metrics: Metrics) -> list[Row]:
    """Give the rows of the table for label -> metrics.json value; DataError names a metric that is missing."""
    always = [Row(m, tuple(_cell(m, label, value) for label, value in metrics.items())) for m in MEASURES]
    optional = [
        Row(measure, tuple(_optional_cell(measure, section, value) for value in metrics.values()), group)
        for section, group, measures in _optional_measures(metrics)
        for measure in measures
        if any(_optional(value, section, measure.key) is not None for value in metrics.values())
    ]
    return always + optional


def _optional_measures(metrics: Metrics) -> list[tuple[str, Group, Sequence[Measure]]]:
    """Give section, group and measures that the table shows where they were measured."""
    at_k = dict.fromkeys(key for value in metrics.values() for key in value.get("at_k", ()))
    repeated = [Measure(key, key, "share", AT_K[key.partition("@")[0]]) for key in at_k]
    return [
        ("at_k", "answers", repeated),
        ("metrics", "traces", BY_RULE),
        ("spans", "traces", STEPS),
        ("judged", "judged", JUDGED),
        ("foresight", "answers", FORESIGHT),
        *((f"calibration/{key}", "confidence", _named(CALIBRATION, name)) for key, name in READINGS.items()),
        ("without_evidence", "confidence", WITHOUT_EVIDENCE),
    ]


def _named(measures: Iterable[Measure], prefix: str) -> list[Measure]:
    """Put the reading before the label of its measures."""
    return [dataclasses.replace(one, label=f"{prefix}: {one.label}") for one in measures]


def _optional(value: Mapping[str, Any], section: str, key: str) -> Mapping[str, Any] | None:
    """Give an estimate that a metrics.json may have; `judged` is null without a judge."""
    if key == "phase_coverage":
        return phase_estimates(value).get(key)
    found: Mapping[str, Any] = value
    for part in section.split("/"):
        found = found.get(part) or {}
    estimates: Mapping[str, Any] = found.get("metrics", found)
    return estimates.get(key)


def phase_estimates(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the estimates of the phases shown: the judge's if it was asked, else the reader's.

    There are none in a metrics.json of an older version, which counted something else.
    """
    if _judge_names_phases(value):
        judged: Mapping[str, Any] = value["judged"]["metrics"]
        return judged
    read: Mapping[str, Any] = value["metrics"] if "phases" in value else {}
    return read


def _judge_names_phases(value: Mapping[str, Any]) -> bool:
    return bool(value.get("judged")) and "quality" in value["judged"]["verdicts"]


def _optional_cell(measure: Measure, section: str, metrics: Mapping[str, Any]) -> Cell:
    estimate = _optional(metrics, section, measure.key)
    return Cell("-", "", "") if estimate is None else _measured(measure.kind, estimate, metrics["n_questions"])


def _cell(measure: Measure, label: str, metrics: Mapping[str, Any]) -> Cell:
    if measure.key == "aes":
        return _aes_cell(metrics["aes"], metrics["n_questions"])
    if measure.key not in metrics["metrics"]:
        raise DataError(
            f"metrics of {label}: no metric {measure.key!r}; they were written by another version: "
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
    if kind in ("score", "level"):
        return f"{value:.2f}"
    # 0 and 1 are exact: 99.96 % must not look like them
    digits = f"{100 * value:.0f}" if value in (0, 1) else f"{100 * value:.1f}"
    return f"{digits}%" if unit else digits


@dataclasses.dataclass(frozen=True, slots=True)
class ComparisonTable:
    """The table for a terminal, of label -> metrics.json value: as many series side by side as its width holds.

    It shows the rows of answers and confidence; with `whole` also those of the traces and of the judge.
    """

    metrics: Metrics
    whole: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give the tables one below the other, then the remarks and what the rows mean."""
        labels, every = list(self.metrics), rows(self.metrics)
        width = max([LABEL_WIDTH, *(len(row.measure.label) for row in every if row.group == "confidence")])
        n_columns = max(1, (options.max_width - width) // SERIES_WIDTH)
        for first in range(0, len(labels), n_columns):
            yield _table({label: self.metrics[label] for label in labels[first : first + n_columns]}, whole=self.whole)
            yield Text()
        shown_rows = _chosen(every, whole=self.whole)
        # the readings of confidence have the same measures
        said = {row.measure.meaning: row.measure.label for row in reversed(shown_rows)}
        meanings = [f"{label}: {meaning}" for meaning, label in reversed(said.items())]
        n_more = len(every) - len(shown_rows)
        more = [f"{n_more} more of traces and judge: `mbt-lite report RUN --all`, or the page"] if n_more else []
        yield from (Text(line, "dim") for line in [*remarks(self.metrics), *meanings, *more])


def _chosen(every: Sequence[Row], *, whole: bool) -> list[Row]:
    return [row for row in every if whole or row.group in ("answers", "confidence")]


def _table(metrics: Metrics, *, whole: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", no_wrap=True)
    for label, value in metrics.items():
        # the run stands above its variant: both are names of any length
        run, _, variant = label.rpartition("/")
        table.add_column(Text("\n".join(filter(None, (run, variant, f"n={value['n_questions']}")))), min_width=7)
    for row in _chosen(rows(metrics), whole=whole):
        table.add_row(row.measure.label, *(_terminal_cell(cell) for cell in row.cells))
    return table


def _terminal_cell(cell: Cell) -> Text:
    return Text(" ").join(
        Text(part, style)
        for part, style in ((cell.value, "bold"), (cell.interval, "dim"), (cell.note, "dim"))
        if part
    )  # fmt: skip


def remarks(metrics: Metrics) -> list[str]:
    """Give the lines under the table: what the brackets are, what is undefined and why, what was left out."""
    lines = ["[low, high]: 95 % interval over questions if known (Wilson for shares, else bootstrap); n: questions"]
    return [
        *lines,
        *_in_train(metrics),
        *_same_texts(metrics),
        *_aes(metrics),
        *_left_out(metrics),
        *_judged(metrics),
        *_foresight(metrics),
        *_confidence(metrics),
        *phase_lines(metrics),
    ]


def phase_lines(metrics: Metrics, *, judged: bool = True) -> list[str]:
    """Say who read the phases, and how well; with `judged` the judge's are told, which the means are made of."""
    said: dict[str, list[str]] = {}
    for label, value in metrics.items():
        if judged and _judge_names_phases(value):
            said.setdefault(f"named by the judge {value['judged']['judge']}", []).append(label)
        elif "phases" in value:
            said.setdefault(_read(value["phases"]), []).append(label)
    return [f"phases of {', '.join(labels)}: {line}" for line, labels in said.items()]


def _read(held_out: Mapping[str, Any]) -> str:
    if held_out["undefined_reason"] is not None:
        return f"undefined, {held_out['undefined_reason']}"
    right, unread = (shown("share", held_out[key], unit=True) for key in ("accuracy", "unread"))
    return (
        f"read by a classifier fitted on the run's {held_out['n_traces']:,} labelled traces, held-out accuracy {right} "
        f"({unread} left unread, n={held_out['n_paragraphs']:,} paragraphs)"
    )


def _same_texts(metrics: Metrics) -> list[str]:
    """Say which variant wrote what another had written: servers answer so that do not know an adapter they were given.

    Runs that were scored before this was noted say nothing.
    """
    return [
        f"{label} wrote the very texts of {other}, all {value['n_predictions']}: one model answered for both, or "
        "nothing was learnt"
        for label, value in metrics.items()
        for other in value.get("same_texts_as", ())
    ]


def _aes(metrics: Metrics) -> list[str]:
    """Say why an AES or its interval is undefined."""
    labels: dict[str, list[str]] = {}
    for label, value in metrics.items():
        if value["aes"] is not None and value["aes"]["undefined_reason"] is not None:
            labels.setdefault(value["aes"]["undefined_reason"], []).append(label)
    return [f"AES of {', '.join(whose)}: {reason}" for reason, whose in labels.items()]


def _in_train(metrics: Metrics) -> list[str]:
    """Say how many of the questions were trained on; runs scored by an older version do not know."""
    said = (line for value in metrics.values() for line in (value.get("in_train") or {"said": []})["said"])
    return list(dict.fromkeys(said))


def _left_out(metrics: Metrics) -> list[str]:
    """Say how many questions no variant was scored on, by reason."""
    reasons = {label: Counter(row["reason"] for row in value["left_out"]) for label, value in metrics.items()}
    distinct = list(dict.fromkeys(tuple(sorted(counts.items())) for counts in reasons.values()))
    lines = []
    for counts in distinct:
        whose = [label for label, found in reasons.items() if tuple(sorted(found.items())) == counts]
        who = "all variants" if len(distinct) == 1 else ", ".join(whose)
        lines += [f"left out of {who}: {n} {'question' if n == 1 else 'questions'}, {reason}" for reason, n in counts]
    return lines


def _foresight(metrics: Metrics) -> list[str]:
    """Say where titles stand in for bridges, and why a figure is undefined."""
    lines = {
        f"forecasts of {label}: {key} undefined, {estimate['undefined_reason']}"
        for label, value in metrics.items()
        for key, estimate in (value.get("foresight") or {"metrics": {}})["metrics"].items()
        if estimate["mean"] is None
    }
    if any((value.get("foresight") or {}).get("bridges_are_titles") for value in metrics.values()):
        lines.add("bridges are titles of supporting documents here: the dataset has no intermediate results")
    return sorted(lines)


def _confidence(metrics: Metrics) -> list[str]:
    """Say how many completions have no confidence, and what was not asked without evidence."""
    lines = [
        f"confidence of {label}, {READINGS[key]}: {found['missing']} completions have none and are left out"
        + (
            f", {elsewhere} of these state one in another form or place"
            if (elsewhere := found.get("elsewhere"))
            else ""
        )
        for label, value in metrics.items()
        for key, found in value.get("calibration", {}).items()
        if found["missing"]
    ]
    left_out = {
        f"not asked without evidence: {n}, {reason}"
        for value in metrics.values()
        for reason, n in value.get("without_evidence", {"left_out": {}})["left_out"].items()
    }
    return [*lines, *sorted(left_out)]


def _judged(metrics: Metrics) -> list[str]:
    """Say who judged which series, and how many replies stayed unscored."""
    judges: dict[tuple[str, bool], list[str]] = {}
    for label, value in metrics.items():
        if value.get("judged"):
            judges.setdefault((value["judged"]["judge"], value["judged"]["scripted"]), []).append(label)
    lines = []
    for (name, scripted), labels in judges.items():
        counts = [one for label in labels for one in metrics[label]["judged"]["verdicts"].values()]
        scored, unscored = sum(one["scored"] for one in counts), sum(sum(one["unscored"].values()) for one in counts)
        who = f"{name}, a scripted judge: rules, no language model" if scripted else name
        lines.append(f"{', '.join(labels)} judged by {who}; {scored} verdicts, {unscored} replies left unscored")
    return lines
