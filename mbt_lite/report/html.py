"""The self-contained page: one file without a network, for light and dark, mouse and keyboard, wide and small screens.

The traces travel as gzipped JSON in base64 (browsers unpack it themselves), so that three variants of 500 traces stay
under 5 MB, and no trace can be mistaken for markup.
"""

from __future__ import annotations

import base64
import datetime
import gzip
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from mbt_lite.records import Prediction, Question
from mbt_lite.report import plots, table
from mbt_lite.report.contents import OUTCOMES, Curve, Report, outcome
from mbt_lite.report.mentions import segments
from mbt_lite.run_dir import write_text

# of the 5 MB that a page may have; plots, table and recipe take about 0.1
MAX_PACKED_CHARACTERS = 4_700_000
# a trace is never cut shorter than this: a run of very many predictions makes a larger page
SHORTEST_CUT_CHARACTERS = 400
# English packs to about half its characters: more than this is not worth the first try
MAX_TRACE_CHARACTERS = 12_000_000


def write_report(path: Path, report: Report, written_at: datetime.datetime) -> None:
    """Write the page of a run as a whole file."""
    write_text(path, render(report, written_at))


def render(report: Report, written_at: datetime.datetime) -> str:
    """Give the page of a run as HTML."""
    # jinja2 comes with the training stack
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(_file("report.html"))
    return page.render(
        report=report,
        written_at=f"{written_at:%Y-%m-%d %H:%M %Z}".strip(),
        css=_file("report.css"),
        javascript=_file("report.js"),
        rows=table.rows(report.metrics),
        remarks=table.remarks(report.metrics),
        plots=_plots(report),
        outcomes=OUTCOMES,
        packed=pack(report),
        recipe_json=json.dumps(report.recipe, indent=2, ensure_ascii=False),
    )


def write_plots(folder: Path, report: Report) -> None:
    """Write `accuracy.svg` and `failures.svg`, the plots that compare variants, as files of their own."""
    css = _file("report.css")
    write_text(folder / "accuracy.svg", plots.standalone(plots.accuracy_against_tokens(report.metrics), css))
    write_text(folder / "failures.svg", plots.standalone(plots.failures(report.predictions), css))


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _plots(report: Report) -> list[dict[str, str]]:
    """Give title, caption and SVG of each plot; "" as SVG where the run has no data, with the reason as caption."""
    losses = [curve for curve in report.curves if curve.stage == "sft"]
    rewards = [curve for curve in report.curves if curve.stage == "grpo"]
    return [
        {
            "title": "Accuracy against length",
            "caption": "Up is more right answers, left is shorter. Bars are 95 % intervals.",
            "svg": plots.accuracy_against_tokens(report.metrics),
        },
        {
            "title": "How answers fail",
            "caption": "Wrong answers: found and lost if a gold stands in the trace, never found if none does.",
            "svg": plots.failures(report.predictions),
        },
        _curve_plot("Training loss, sft", losses, "loss"),
        _curve_plot("Reward, grpo", rewards, "mean reward"),
    ]


def _curve_plot(title: str, curves: Sequence[Curve], ylabel: str) -> dict[str, str]:
    if not curves[0].points:
        caption = f"No data: {curves[0].source} is not in this run, or has no {curves[0].key!r}."
        return {"title": title, "caption": caption, "svg": ""}
    return {"title": title, "caption": f"From {curves[0].source}.", "svg": plots.training_curve(curves, ylabel)}


def pack(report: Report) -> str:
    """Give what the trace browser reads: base64 of gzip of JSON, `{variants, questions: [{..., predictions}]}`.

    Where the traces are too much for the page, the longest are cut in the middle, visibly, as little as it takes.
    """
    lengths = [len(row.text) for rows in report.predictions.values() for row in rows]
    budget = MAX_TRACE_CHARACTERS
    while True:
        limit = max(shared_limit(lengths, budget), SHORTEST_CUT_CHARACTERS)
        text = json.dumps(_content(report, limit), ensure_ascii=False, separators=(",", ":"))
        # mtime 0: the same run gives the same page
        packed = base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()
        if len(packed) <= MAX_PACKED_CHARACTERS or limit == SHORTEST_CUT_CHARACTERS:
            return packed
        budget = int(0.97 * min(budget, sum(lengths)) * MAX_PACKED_CHARACTERS / len(packed))


def _content(report: Report, limit: int) -> dict[str, Any]:
    by_question: dict[str, dict[str, Any]] = {}
    for variant, rows in report.predictions.items():
        for row in rows:
            by_question.setdefault(row.question_id, {})[variant] = _prediction(row, limit)
    questions = [
        _question(report.questions[question_id]) | {"predictions": predictions}
        for question_id, predictions in by_question.items()
    ]
    return {"variants": list(report.predictions), "questions": questions}


def _question(question: Question) -> dict[str, Any]:
    return {
        "id": question.question_id,
        "question": question.question,
        "golds": question.golds,
        "hops": question.hops,
        "type": question.question_type,
    }


def _prediction(row: Prediction, limit: int) -> dict[str, Any]:
    return {
        "outcome": outcome(row),
        "answer": row.answer,
        "f1": round(row.f1, 2),
        "tokens": row.completion_tokens,
        "stopped": bool(row.stopped),
        "segments": segments(cut_middle(row.text, limit), row.golds),
    }


def shared_limit(lengths: Sequence[int], budget: int) -> int:
    """Give the highest limit such that lengths cut to it sum up to at most `budget`: short ones leave room.

    >>> shared_limit([10, 100, 100], 150)
    70
    """
    remaining, ordered = budget, sorted(lengths)
    for position, length in enumerate(ordered):
        share = remaining // (len(ordered) - position)
        if length > share:
            return share
        remaining -= length
    return max(ordered, default=0)


def cut_middle(text: str, limit: int) -> str:
    """Keep the head and the tail of a text longer than `limit` characters, and say what is missing.

    >>> cut_middle("abcdefgh", 4)
    'ab\\n[... 4 characters left out of this page; predictions.jsonl has them ...]\\ngh'
    """
    if len(text) <= limit:
        return text
    half = limit // 2
    note = f"[... {len(text) - 2 * half:,} characters left out of this page; predictions.jsonl has them ...]"
    return f"{text[:half]}\n{note}\n{text[len(text) - half :]}"
