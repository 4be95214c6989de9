"""Rows that teach the student to say how sure it is, from how often its own drafts agree (arXiv 2510.05126).

A row is the first draft of the most frequent answer, which may be wrong, with a last line `Confidence: NN`, and only
that line trains, from its line break to the tag of the answer. NN is how often such an agreement of drafts is right, by
an isotonic regression over all questions, give or take five per cent. Where this differs from the paper: 1. the
regression stands for its bins; 2. no tenth of the scale has more rows than an even share of all would be, the others
are dropped and counted; 3. `gen.confidence_from: rate` states how many of the question's own drafts are right instead.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import random
from collections.abc import Iterable, Sequence

from mbt_lite.errors import DataError
from mbt_lite.metrics.answers import voting_form
from mbt_lite.metrics.calibration import N_BINS, auroc, bin_of, isotonic
from mbt_lite.recipe.schema import ConfidenceFrom
from mbt_lite.records import Completion, Question
from mbt_lite.text.confidence import confidence_line, read_confidence
from mbt_lite.traces.asking import Made
from mbt_lite.traces.build import build_trace
from mbt_lite.traces.checks import Rules, row_fault
from mbt_lite.traces.drafts import is_correct, parse_draft
from mbt_lite.traces.jobs import Job, rejected_row
from mbt_lite.traces.kind import Kind

# With fewer questions the fit is noise.
LEAST_QUESTIONS = 30
_NOISE = 0.05
# Resamples for the interval of what agreement tells.
_SAMPLES = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Modal:
    """The first draft of a question's most frequent answer, and the share, 0..1, of its drafts that agree with it."""

    question: Question
    draft: Completion
    consistency: float


def confidence_rows(
    kind: Kind,
    questions: Sequence[Question],
    drafts: Iterable[Completion],
    rules: Rules,
    student: str,
    seed: int,
    source: ConfidenceFrom = "agreement",
) -> Made:
    """Make at most one row a question; DataError where too few questions have an answer."""
    own, made = collections.defaultdict[str, list[Completion]](list), Made()
    for draft in drafts:
        own[draft.question_id].append(draft)
    found = [(question, modal(question, own[question.question_id])) for question in questions]
    modals = [one for _, one in found if one is not None]
    if len(modals) < LEAST_QUESTIONS:
        written = [draft for question in questions for draft in own[question.question_id]]
        cut = sum(draft.finish_reason != "stop" for draft in written)
        key = "gen.max_completion_tokens" if 2 * cut > len(written) else "data.train.limit"
        raise DataError(
            f"gen: {len(modals)} of {len(questions)} questions have a draft with an answer, {cut} of {len(written)} "
            f"drafts were cut off, and `gen.kind` confidence wants {LEAST_QUESTIONS} to tell how often agreement is "
            f"right; raise `{key}`"
        )
    rights = [is_correct(one.draft, one.question) for one in modals]
    if source == "rate":
        fitted = [right_share(one.question, own[one.question.question_id]) for one in modals]
    else:
        fitted = isotonic([one.consistency for one in modals], rights)
    targets = dict(zip((one.question.question_id for one in modals), _noisy(modals, fitted, seed), strict=True))
    made.told.append(_said(modals, rights, fitted, seed))
    for question, one in found:
        if one is None:
            made.rejected.append(rejected_row(Job(question, None, 0), kind, "no answer in the drafts", ""))
        else:
            _settle(kind, one, targets[question.question_id], rules, student, made)
    _balance(kind, {one.question.question_id: one for one in modals}, targets, seed, made)
    return made


def modal(question: Question, drafts: Sequence[Completion]) -> Modal | None:
    """Find the most frequent answer, of equally frequent ones the first; drafts without one agree with nobody."""
    firsts, votes = dict[str, Completion](), collections.Counter[str]()
    for draft in drafts:
        answer = parse_draft(draft.text).answer if draft.finish_reason == "stop" else None
        form = None if answer is None else voting_form(answer, question.golds)
        if form is not None:
            firsts.setdefault(form, draft)
            votes[form] += 1
    if not votes:
        return None
    [(form, count)] = votes.most_common(1)
    return Modal(question, firsts[form], count / len(drafts))


def right_share(question: Question, drafts: Sequence[Completion]) -> float:
    """Give the share, 0..1, of a question's drafts that are right."""
    return sum(is_correct(draft, question) for draft in drafts) / len(drafts)


def _said(modals: Sequence[Modal], rights: Sequence[bool], fitted: Sequence[float], seed: int) -> str:
    """Say whether agreement tells right answers from wrong ones: if not, rows made from it teach one number."""
    found = auroc([one.consistency for one in modals], rights, _SAMPLES, seed)
    bounds = "" if found["low"] is None else f" [{found['low']:.2f}, {found['high']:.2f}]"
    spread = "" if found["mean"] is None else f" with AUROC {found['mean']:.2f}{bounds}"
    return (
        f"the most frequent answer is right for {sum(rights)} of {len(rights)} questions; rows state "
        f"{min(fitted):.0%} to {max(fitted):.0%}; agreement tells right from wrong{spread}: at 0.5 it tells nothing "
        "that rows could teach, then try `gen.confidence_from: rate`"
    )


def _noisy(modals: Sequence[Modal], fitted: Sequence[float], seed: int) -> list[int]:
    """Give what each row will state, in whole per cent."""
    noises = (random.Random(f"{seed}:{one.question.question_id}").uniform(-_NOISE, _NOISE) for one in modals)
    return [min(100, max(0, round(100 * (fit + noise)))) for fit, noise in zip(fitted, noises, strict=True)]


def _settle(kind: Kind, one: Modal, target: int, rules: Rules, student: str, made: Made) -> None:
    """Build a row, or note why it must not train."""
    parsed, job = parse_draft(one.draft.text), Job(one.question, one.draft, 0)
    trace = f"{(parsed.trace or '').rstrip()}\n{confidence_line(target)}"
    fault = row_fault(parsed.trace, str(parsed.answer), one.question, rules, row_trace=trace)
    if fault is None and read_confidence(parsed.trace) is not None:
        fault = "states a confidence already"
    if fault is not None:
        made.rejected.append(rejected_row(job, kind, fault, one.draft.text))
        return
    made.accepted[one.question.question_id] = build_trace(
        one.question,
        kind,
        trace,
        rollout_index=one.draft.rollout_index,
        trace_index=0,
        teacher=student,
        scripted=False,
        answer=parsed.answer,
    )


def _balance(kind: Kind, modals: dict[str, Modal], targets: dict[str, int], seed: int, made: Made) -> None:
    """Drop rows at random where a tenth of the scale has more of them than its even share."""
    tenths: list[list[str]] = [[] for _ in range(N_BINS)]
    for question_id in made.accepted:
        tenths[bin_of(targets[question_id] / 100)].append(question_id)
    most = math.ceil(len(made.accepted) / max(1, sum(map(bool, tenths))))
    chance = random.Random(seed)
    for ids in tenths:
        for question_id in chance.sample(ids, max(0, len(ids) - most)):
            one, row = modals[question_id], made.accepted.pop(question_id)
            job = Job(one.question, one.draft, 0)
            made.rejected.append(rejected_row(job, kind, "enough rows as sure as this", row.text))
