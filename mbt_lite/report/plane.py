"""The plane of two ways to go wrong: reasoning on after the answer, and reasoning without getting anywhere.

Source: the overthinking and underthinking ratios of arXiv 2602.22508 v1, which take a judge. Without judged series,
two stand-ins by rule are shown and named as such:

1. Overthinking: of right completions, the share of the trace's words that come after the first mention of a gold.
2. Underthinking: of wrong completions, the share of the trace's word 4-grams that occurred earlier in it. It sees a
   trace that goes in circles, not one that gives up early.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mbt_lite.metrics.aggregate import by_question, estimates, question_means
from mbt_lite.records import Prediction
from mbt_lite.report.charts import Plot, Row, bounded, by_run, by_variant, chart_of, named, to_spec
from mbt_lite.report.contents import Report, Series

SAMPLES, SEED = 2000, 0


def thinking_plane(report: Report) -> Plot:
    """Draw overthinking against underthinking, one mark a series, by the judge where there is one."""
    judged = [series for series in report.series if series.metrics.get("judged")]
    if judged:
        judges = ", ".join(dict.fromkeys(_judge(series) for series in judged))
        reading = f"Judged by {judges}: the share of a trace after its useful beginning, of right and of wrong traces."
        found = {series.label: series.metrics["judged"]["metrics"] for series in judged}
        unjudged = [series.label for series in report.series if series not in judged]
        reading += f" Not judged: {', '.join(unjudged)}." if unjudged else ""
        titles = ("underthinking, % of wrong traces", "overthinking, % of right traces")
    else:
        reading = (
            "Stand-ins by rule, no judge: of right traces, the words after the first mention of the gold; "
            "of wrong traces, the word 4-grams said before."
        )
        found = {series.label: stand_ins(series) for series in report.series}
        titles = ("said again, % of wrong traces (stand-in)", "after the gold, % of right traces (stand-in)")
    rows = [
        named(series)
        | bounded("under", found[series.label]["underthinking"], 100)
        | bounded("over", found[series.label]["overthinking"], 100)
        for series in report.series
        if series.label in found
    ]
    return _plot(report, rows, titles, reading + " Near the corner is best.")


def _judge(series: Series) -> str:
    judged = series.metrics["judged"]
    return f"{judged['judge']} (scripted: rules, no language model)" if judged["scripted"] else judged["judge"]


def stand_ins(series: Series) -> dict[str, Any]:
    """Give estimates `overthinking` and `underthinking` by rule, over questions, with 95 % intervals."""
    questions = by_question(series.predictions)
    columns = {
        "overthinking": question_means(questions, words_after_gold),
        "underthinking": question_means(questions, said_again),
    }
    reasons = {"overthinking": "no right trace mentions a gold", "underthinking": "no wrong completion has a trace"}
    return estimates(columns, samples=SAMPLES, seed=SEED, reasons=reasons)


def words_after_gold(row: Prediction) -> float | None:
    """Give the share of a right trace's words after the first mention of a gold; None for any other completion."""
    if not row.exact_match or row.words_to_mention is None or not row.trace_words:
        return None
    return (row.trace_words - row.words_to_mention) / row.trace_words


def said_again(row: Prediction) -> float | None:
    """Give the share of a wrong trace's word 4-grams that occurred earlier in it; None for any other completion."""
    return None if row.exact_match else row.repeated_4grams


def _plot(report: Report, rows: list[Row], titles: tuple[str, str], reading: str) -> Plot:
    import altair as alt

    key, title = "thinking", "Two ways to go wrong"
    numbers = [_numbers(row) for row in rows]
    placed = [row for row in rows if row["under"] is not None and row["over"] is not None]
    if not placed:
        missing = "No variant has both right and wrong traces: " + "; ".join(
            f"{row['series']}: right n={row['over_n']}, wrong n={row['under_n']}" for row in rows
        )
        return Plot(key, title, reading, None, missing=missing + ".")
    absent = [row["series"] for row in rows if row not in placed]
    if absent:
        reading += f" Not placed, for want of right or of wrong traces: {', '.join(absent)}."
    base = chart_of(placed).encode(
        color=by_variant(report),
        tooltip=["series:N", *(alt.Tooltip(f"{axis}_text:N", title=f"{axis}thinking") for axis in ("over", "under"))],
    )
    x, y = alt.X("under:Q", title=titles[0]), alt.Y("over:Q", title=titles[1])
    chart = alt.layer(
        base.mark_rule(aria=False).encode(x=alt.X("under_low:Q"), x2="under_high:Q", y=y),
        base.mark_rule(aria=False).encode(x=x, y=alt.Y("over_low:Q"), y2="over_high:Q"),
        base.mark_point().encode(x=x, y=y, **by_run(report)),
        height=280,
    )
    return Plot(key, title, reading, to_spec(chart, f"{titles[1]} against {titles[0]}, one mark per variant"), numbers)


def _numbers(row: Mapping[str, Any]) -> Row:
    return {
        "": row["series"],
        "right traces: over": row["over_text"],
        "right n": row["over_n"],
        "wrong traces: under": row["under_text"],
        "wrong n": row["under_n"],
    }
