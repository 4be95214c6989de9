"""The traces as the browser reads them: gzipped JSON in base64, so that 3 variants of 500 traces stay under 5 MB.

Browsers unpack gzip themselves, and no trace can be mistaken for markup. Where the traces are too much for the page,
the longest are cut in the middle, visibly, as little as it takes.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from typing import Any

from mbt_lite.records import Prediction, Question
from mbt_lite.report.contents import Report, Series, outcome
from mbt_lite.report.marks import Paragraph, mark
from mbt_lite.text.completion import THINK_OPEN
from mbt_lite.text.phases import PHASES

# of the 5 MB that a page may have; the plotting library takes 0.4, plots, tables and recipes about 0.2
MAX_PACKED_CHARACTERS = 4_250_000
# a trace is never cut shorter than this: a run of very many predictions makes a larger page
SHORTEST_CUT_CHARACTERS = 400
# marked English packs to about half its characters: more than this is not worth the first try
MAX_TRACE_CHARACTERS = 11_000_000

Marked = list[tuple[Series, Prediction, list[Paragraph]]]


def packed(text: str) -> str:
    """Give base64 of gzip of a text; the same text gives the same characters."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def pack_traces(report: Report) -> str:
    """Give what the trace browser reads: `{unit, questions: [{..., predictions: {label: ...}}]}`, packed."""
    marked: Marked = [
        (series, row, mark(row.text, row.golds, row.phases or (), prefilled_think=_is_prefilled(row)))
        for series in report.series
        for row in series.predictions
    ]
    lengths = [len(row.text) for _, row, _ in marked]
    budget = MAX_TRACE_CHARACTERS
    while True:
        limit = max(shared_limit(lengths, budget), SHORTEST_CUT_CHARACTERS)
        done = packed(json.dumps(_content(report, marked, limit), ensure_ascii=False, separators=(",", ":")))
        if len(done) <= MAX_PACKED_CHARACTERS or limit == SHORTEST_CUT_CHARACTERS:
            return done
        budget = int(0.97 * min(budget, sum(lengths)) * MAX_PACKED_CHARACTERS / len(done))


def _is_prefilled(row: Prediction) -> bool:
    """Tell whether the chat template had opened the trace: it was scored as one, and the text does not open it."""
    return row.trace_words is not None and THINK_OPEN not in row.text


def _content(report: Report, marked: Marked, limit: int) -> dict[str, Any]:
    """Join the completions by question and rollout: a tuned one stands beside its base."""
    asked: dict[tuple[str, str, int], dict[str, Any]] = {}
    for series, row, paragraphs in marked:
        question = series.run.questions[row.question_id]
        # two files may give one id to two questions
        place = (row.question_id, question.question, row.rollout_index)
        entry = asked.setdefault(place, _question(question, row.rollout_index))
        entry["predictions"][series.label] = _prediction(series, row, paragraphs, limit)
    unit = "questions" if all(not rollout for *_, rollout in asked) else "completions of questions"
    return {"unit": unit, "questions": list(asked.values())}


def _question(question: Question, rollout: int) -> dict[str, Any]:
    return {
        "id": question.question_id,
        "rollout": rollout,
        "question": question.question,
        "golds": question.accepted,
        "dataset": question.source,
        "hops": question.hops,
        "type": question.question_type,
        "predictions": {},
    }


def _prediction(series: Series, row: Prediction, paragraphs: Sequence[Paragraph], limit: int) -> dict[str, Any]:
    reach = series.run.reaches[series.variant].get((row.question_id, row.rollout_index))
    phases = series.run.judged_phases[series.variant].get((row.question_id, row.rollout_index))
    return {
        "outcome": outcome(row),
        "degenerate": bool(row.degenerate),
        "answer": row.answer,
        "f1": round(row.f1, 2),
        "tokens": row.completion_tokens,
        "stopped": bool(row.stopped),
        "trace": row.trace_words is not None,
        "judged": None if reach is None else {"first": reach.first_correct, "redundant": sorted(reach.redundant)},
        "judged_phases": None if phases is None else [PHASES.index(phase) for phase in phases],
        "paragraphs": list(_paragraphs(row.text, paragraphs, limit)),
    }


def _paragraphs(text: str, paragraphs: Sequence[Paragraph], limit: int) -> Iterator[dict[str, Any]]:
    """Give the paragraphs with their pieces, text and flag in turn; a middle left out is one that says so."""
    head, tail = (len(text), len(text)) if len(text) <= limit else (limit // 2, len(text) - limit // 2)
    said = head == tail
    for paragraph in paragraphs:
        if not said and paragraph.end > head:
            yield from _part(text, paragraph, 0, head)
            yield {"left_out": tail - head}
            said = True
            yield from _part(text, paragraph, tail, len(text))
        else:
            yield from _part(text, paragraph, 0 if paragraph.end <= head else tail, len(text))


def _part(text: str, paragraph: Paragraph, start: int, end: int) -> Iterator[dict[str, Any]]:
    """Give what of a paragraph stands between two places, if anything."""
    pieces: list[str | int] = []
    for left, right, flag in paragraph.pieces:
        if max(left, start) < min(right, end):
            pieces += [text[max(left, start) : min(right, end)], flag]
    if pieces:
        number, phases, repeated = paragraph.number, paragraph.phases, paragraph.is_repeated
        yield {"number": number, "phases": phases, "repeated": repeated, "pieces": pieces}


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
