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

# English text packs to about 0.45 of its characters in base64: the page stays under 5 MB
MAX_TRACE_CHARACTERS = 9_000_000


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


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _plots(report: Report) -> list[dict[str, str]]:
    """Give title, caption and SVG of each plot; "" as SVG where the run has no data, with the reason as caption."""
    losses = [curve for curve in report.curves if curve.stage == "sft"]
    rewards = [curve for curve in report.curves if curve.stage == "grpo"]
    return [
        {
            "title": "Accuracy against length",
            "caption": "Up is more right answers, left is shorter. Bars are 95 % intervals, bootstrap over questions.",
            "svg": plots.accuracy_against_tokens(report.metrics),
        },
        {
            "title": "How answers fail",
            "caption": "Found and lost: wrong, though a gold stands in the trace. Never found: wrong, and none does.",
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
    """Give what the trace browser reads: base64 of gzip of JSON, `{variants, limit, questions: [{..., predictions}]}`.

    A text longer than `limit` characters is cut in the middle, visibly; `limit` is as high as the page's size allows.
    """
    limit = shared_limit([len(row.text) for rows in report.predictions.values() for row in rows], MAX_TRACE_CHARACTERS)
    by_question: dict[str, dict[str, Any]] = {}
    for variant, rows in report.predictions.items():
        for row in rows:
            by_question.setdefault(row.question_id, {})[variant] = _prediction(row, limit)
    content = {
        "variants": list(report.predictions),
        "questions": [
            _question(report.questions[question_id]) | {"predictions": predictions}
            for question_id, predictions in by_question.items()
        ],
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    # mtime 0: the same run gives the same page
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


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
