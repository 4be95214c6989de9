"""The page of a GRPO run's completions: per checkpoint the best, the worst, and those that had the answer and lost it.

One file without a network or a script. Everything the model wrote is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mbt_lite.records import Question

SHOWN = 3
STYLE = (
    "body{max-width:60rem;margin:auto;padding:1rem;font:16px/1.5 system-ui,sans-serif;color-scheme:light dark}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;border-left:3px solid gray;padding-left:.8rem}"
    "summary{cursor:pointer}small{opacity:.75}"
)


def completion_page(
    rows: Sequence[Mapping[str, Any]], questions: Iterable[Question], save_every_steps: int, run: str
) -> str:
    """Give the page as HTML, newest checkpoint first.

    `rows` are those of completions.jsonl; a checkpoint shows the `save_every_steps` steps that led to it.
    """
    by_id = {question.question_id: question for question in questions}
    sections: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        sections.setdefault((row["step"] - 1) // save_every_steps, []).append(row)
    body = "".join(_section(sections[number], by_id) for number in sorted(sections, reverse=True))
    title = f"GRPO completions of {html.escape(run)}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body><h1>{title}</h1>{body}</body></html>\n"
    )


def _section(rows: Sequence[Mapping[str, Any]], questions: Mapping[str, Question]) -> str:
    ranked = sorted(rows, key=lambda row: -row["reward"])
    lost = [row for row in rows if row["terms"].get("keep", 0) < 0]
    mean = sum(row["reward"] for row in rows) / len(rows)
    steps = f"{min(row['step'] for row in rows)} to {max(row['step'] for row in rows)}"
    parts = (
        ("Best", ranked[:SHOWN]),
        ("Worst", ranked[::-1][:SHOWN]),
        (f"Had the answer and lost it ({len(lost)} of {len(rows)})", lost[-SHOWN:]),
    )
    shown = "".join(
        f"<h3>{title}</h3>{''.join(_completion(row, questions) for row in some) or '<p>none</p>'}"
        for title, some in parts
    )
    return f"<h2>Steps {steps}</h2><p>{len(rows)} completions, mean reward {mean:.3f}</p>{shown}"


def _completion(row: Mapping[str, Any], questions: Mapping[str, Question]) -> str:
    question = questions[row["question_id"]]
    terms = ", ".join(f"{name} {value:g}" for name, value in row["terms"].items())
    golds = " / ".join(question.accepted)
    return (
        f"<details><summary>reward {row['reward']:.3f}: {html.escape(question.question)}</summary>"
        f"<p>gold: {html.escape(golds)}<br><small>step {row['step']}, {html.escape(row['question_id'])}, "
        f"{row['completion_tokens']} tokens, ended by {row['finish_reason']}; {terms}</small></p>"
        f"<pre>{html.escape(row['text'])}</pre></details>"
    )
