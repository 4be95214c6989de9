"""Rows that teach the student to foresee its tries (arXiv 2510.03259), from its own drafts; and rows that come again.

Where this differs from the public code: 1. the mean length is that of right drafts alone, the rate a count of 8; 2. up
to a quarter of the rows are of questions that were never solved, else 0 of 8 is never taught; 3. where no forecast can
be read, a sentence by rule names the links that the drafts went through, and says it is scripted.
"""

from __future__ import annotations

import collections
import dataclasses
import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mbt_lite.errors import DataError, RunError
from mbt_lite.files import read_jsonl
from mbt_lite.records import Completion, Question, Trace, from_row
from mbt_lite.rewards.meta import TRIES, Solved, links_term, possible_link, read_forecast, solved, write_forecast
from mbt_lite.text.names import plain_title, read_names, split_sentences
from mbt_lite.text.normalize import normalize
from mbt_lite.traces.asking import Made
from mbt_lite.traces.build import build_trace
from mbt_lite.traces.checks import OTHER_TAGS, THINK_TAGS, Rules, holds
from mbt_lite.traces.drafts import is_correct, is_opened_by_template, parse_draft
from mbt_lite.traces.jobs import Job, rejected_row
from mbt_lite.traces.kind import Kind

LEAST_HIT = 0.2
# So many of four rows at most are of questions never solved.
_UNSOLVED_OF_FOUR = 1
_SCRIPTED_LINKS = 2
SCRIPTED = "scripted"


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    """A forecast that may become a row; `draft` is None where a rule wrote it."""

    trace: str
    links: Sequence[str]
    draft: Completion | None


def expert_rows(
    kind: Kind,
    questions: Sequence[Question],
    drafts: Iterable[Completion],
    forecasts: Iterable[Completion],
    rules: Rules,
    student: str,
    seed: int,
) -> Made:
    """Make at most one row a question from its drafts and forecasts, with the numbers that came true."""
    made, by_question = Made(), (_grouped(drafts), _grouped(forecasts))
    never = list[str]()
    for question in questions:
        own, foretold = (some[question.question_id] for some in by_question)
        found = solved((parse_draft(one.text).trace, is_correct(one, question), one.completion_tokens) for one in own)
        chosen = _choose(question, found, foretold) if own else "no drafts"
        job = Job(question, None if isinstance(chosen, str) else chosen.draft, 0)
        row = chosen if isinstance(chosen, str) else _row(kind, question, chosen, found, own, rules, student)
        if isinstance(row, str):
            text = "" if isinstance(chosen, str) else chosen.trace
            made.rejected.append(rejected_row(job, kind, row, text))
            continue
        made.accepted[job.label] = row
        never += [] if found.right else [job.label]
    most = (len(made.accepted) - len(never)) * _UNSOLVED_OF_FOUR // (4 - _UNSOLVED_OF_FOUR)
    by_id = {question.question_id: question for question in questions}
    for label in random.Random(seed).sample(never, max(0, len(never) - most)):
        row = made.accepted.pop(label)
        job = Job(by_id[row.question_id], None, 0)
        made.rejected.append(rejected_row(job, kind, "enough of questions never solved", row.text))
    return made


def _grouped(completions: Iterable[Completion]) -> Mapping[str, list[Completion]]:
    grouped = collections.defaultdict[str, list[Completion]](list)
    for one in completions:
        grouped[one.question_id].append(one)
    return grouped


def _choose(question: Question, found: Solved, foretold: Sequence[Completion]) -> _Found | str:
    """Choose the forecast whose links hit most, or say why there is none; nobody can hit where nothing was solved."""
    read = [
        (read_forecast(one.text, prefilled_think=is_opened_by_template(one.text)), one)
        for one in foretold
        if one.finish_reason == "stop"
    ]
    readable = [(forecast.links, one) for forecast, one in read if forecast.links is not None]
    if not readable:
        return _by_rule(question, found)
    hits = [links_term(links, found.right, found.wrong, question) for links, _ in readable]
    best = max(range(len(hits)), key=hits.__getitem__)
    if found.right and hits[best] < LEAST_HIT:
        return "links that the drafts did not go through"
    links, draft = readable[best]
    return _Found((parse_draft(draft.text).trace or "").strip(), links, draft)


def _by_rule(question: Question, found: Solved) -> _Found | str:
    """Name the links that the drafts went through, most of all the right ones."""
    spelled = dict[str, str]()
    for document in question.documents:
        names = (name for sentence in split_sentences(document.text) for name in read_names(sentence))
        for name in (plain_title(document.title), *names):
            spelled.setdefault(normalize(name), name)
    through = {
        name: sum(f" {name} " in f" {trace} " for trace in found.right or found.wrong)
        for name in spelled
        if possible_link(spelled[name], question)
        and (not found.right or links_term([spelled[name]], found.right, found.wrong, question) == 1.0)
    }
    ranked = sorted((name for name, count in through.items() if count), key=lambda name: -through[name])
    links = [spelled[name] for name in ranked[:_SCRIPTED_LINKS]]
    if not links:
        return "no link in the drafts"
    leads = "leads" if found.right else "may lead"
    return _Found(f"The question {leads} to {' and '.join(links)}.", links, None)


def _row(
    kind: Kind, question: Question, chosen: _Found, found: Solved, own: Sequence[Completion], rules: Rules, student: str
) -> Trace | str:
    """Build the row, or say why it must not train."""
    right_of_8 = round(TRIES * found.rate)
    lengths = found.right_lengths
    tokens = round(statistics.fmean(lengths) if lengths else statistics.median(one.completion_tokens for one in own))
    trace = chosen.trace
    if chosen.draft is None:
        trace += f" We expect to be right {right_of_8} of {TRIES} times, in about {tokens} tokens."
    answer = write_forecast(chosen.links, right_of_8, max(1, tokens))
    said = f"{trace} {answer}"
    if holds(said, (*THINK_TAGS, *OTHER_TAGS)) or rules.controls(said):
        return "holds tags"
    if rules.count_tokens is not None and rules.count_tokens(question, trace, answer) > rules.max_tokens:
        return "too long for training"
    by_rule = chosen.draft is None
    return build_trace(
        question,
        kind,
        trace,
        rollout_index=None if chosen.draft is None else chosen.draft.rollout_index,
        trace_index=0,
        teacher=SCRIPTED if by_rule else student,
        scripted=by_rule,
        answer=answer,
    )


def replayed(path: Path, count: int, seed: int, taken: Iterable[str]) -> list[Trace]:
    """Choose rows of an earlier run, as many as are asked for if it has them, in their order.

    Raises RunError without the file, DataError where a row has the id of one of `taken`.
    """
    if not path.is_file():
        raise RunError(f"{path}: no rows to replay; name the gen/traces.jsonl of an earlier run in gen.replay")
    rows = [from_row(Trace, row, f"{path}:{line}") for line, row in enumerate(read_jsonl(path), 1)]
    if twice := sorted({row.trace_id for row in rows}.intersection(taken)):
        raise DataError(
            f"{path}: rows to replay have ids of new ones (got {twice[0]}); name another run's in gen.replay"
        )
    places = random.Random(seed).sample(range(len(rows)), min(count, len(rows)))
    return [rows[place] for place in sorted(places)]
