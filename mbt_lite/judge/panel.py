"""Judge the completions of a run: ask in two rounds, keep every verdict, turn them into means.

Files in `eval/`: `judge_replies.jsonl` (every reply), `judge_usage.json` (tokens and dollars per kind),
`judge_servers.json` (what its servers gave away), and per variant `judgements.jsonl`, one verdict or reason a line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mbt_lite import prompts
from mbt_lite.endpoint.opening import Counting, open_endpoints
from mbt_lite.endpoint.reading import why_useless
from mbt_lite.errors import RunError
from mbt_lite.files import write_jsonl
from mbt_lite.judge.agreement import agreements, labels
from mbt_lite.judge.ask import Finding, Item, Send, find
from mbt_lite.judge.labelled import hold_against, labelled_traces, read_labels
from mbt_lite.judge.subjects import FIRST_ROUND, Kind, Subject, applies, make_subject
from mbt_lite.judge.verdicts import prefix_share
from mbt_lite.metrics.judged import JudgedCompletion, aggregate_judged, base_lengths
from mbt_lite.metrics.phase_reader import require_sklearn
from mbt_lite.metrics.scorecard import BASE, BOOTSTRAP_SAMPLES
from mbt_lite.recipe.endpoint import EMBEDDED
from mbt_lite.recipe.schema import Judge, Recipe
from mbt_lite.records import Prediction, Question
from mbt_lite.screen import say
from mbt_lite.scripted import server as scripted
from mbt_lite.text.paragraphs import sentences

Predictions = Mapping[str, Sequence[Prediction]]


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """One verdict on one completion, or the reason why there is none: a line of judgements.jsonl."""

    question_id: str
    rollout_index: int
    kind: Kind
    repeat: int
    verdict: dict[str, Any] | None
    unscored: str | None
    by_rule: bool
    attempts: int


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One completion of one variant, and all that was found about it, by (kind, repeat)."""

    variant: str
    prediction: Prediction
    subject: Subject
    findings: dict[tuple[Kind, int], Finding]

    @property
    def label(self) -> str:
        """Name the completion in requests."""
        return f"{self.variant}:{self.prediction.question_id}:{self.prediction.rollout_index}"

    def verdict(self, kind: Kind) -> dict[str, Any] | None:
        """Give the verdict that counts, the first one; None if it is unscored or was not asked."""
        finding = self.findings.get((kind, 0))
        return None if finding is None else finding.verdict


def judge_variants(
    recipe: Recipe,
    questions: Mapping[str, Question],
    predictions: Predictions,
    folder: Path,
    counting: Counting,
    *,
    prefilled_think: bool,
) -> dict[str, dict[str, Any]] | None:
    """Judge every completion and write the verdicts; give variant -> what its metrics.json holds, None without a judge.

    Raises TeacherError where the judge cannot be asked; all replies are kept then.
    """
    judge = recipe.judge
    if not judge.is_asked:
        return None
    cases = [
        Case(variant, row, make_subject(questions[row.question_id], row, prefilled_think=prefilled_think), {})
        for variant, rows in predictions.items()
        for row in rows
    ]
    with open_judge(judge, folder, counting) as send:
        ask_about(cases, judge, send)
    for variant in predictions:
        rows = [row for case in cases if case.variant == variant for row in _judgements(case)]
        write_jsonl(folder / variant / "judgements.jsonl", map(dataclasses.asdict, rows))
    return _cards(recipe, cases, list(predictions))


@contextlib.contextmanager
def open_judge(judge: Judge, folder: Path, counting: Counting) -> Iterator[Send]:
    """Lend the function that asks the judge; what was spent is in `judge_usage.json` at the end."""
    if judge.base_url == EMBEDDED:
        # its server could say so only in a thread of its own
        require_sklearn()
    with open_endpoints(folder, counting, judge, prefix="judge_") as ask:
        yield functools.partial(ask, settings=judge)


def hold_judge_against_labels(
    recipe: Recipe, labels_path: Path | None, folder: Path, *, limit: int | None = None, quiet: bool
) -> dict[str, Any]:
    """Ask the recipe's judge about labelled traces, ours if no file is named; the replies are kept in the folder.

    `limit` takes so many of them, spread over all.

    Raises RunError without a judge.
    """
    judge = recipe.judge
    if not judge.is_asked:
        raise RunError("judge.base_url: no judge to hold against labels (got none); set it to embedded or a URL")
    labelled = labelled_traces() if labels_path is None else read_labels(labels_path)
    n = min(limit or len(labelled), len(labelled))
    traces = [labelled[place * len(labelled) // n] for place in range(n)]

    @contextlib.contextmanager
    def announcing(what: str, total: int) -> Iterator[Callable[[], None]]:
        if total and not quiet:
            say(f"{what}: {total} requests")
        yield lambda: None

    with open_judge(judge, folder, announcing) as send:
        # how much of a judge is no verdict is what is to be known here
        return hold_against(traces, judge, lambda requests, what, useless: send(requests, what, useless=why_useless))


def ask_about(cases: Sequence[Case], judge: Judge, send: Send) -> None:
    """Ask the first round, then over- or underthinking by the verdict on accuracy; findings go into the cases."""
    first = [FIRST_ROUND[measure] for measure in judge.measures if measure in FIRST_ROUND]
    _round({case.label: first for case in cases}, cases, judge, send, "judge: verdicts")
    if "thinking" in judge.measures:
        second = {case.label: _thinking(case) for case in cases}
        _round(second, cases, judge, send, "judge: over- and underthinking")


def _thinking(case: Case) -> list[Kind]:
    verdict = case.verdict("accuracy")
    if verdict is None:
        return []
    return ["overthinking" if verdict["verdict"] == "correct" else "underthinking"]


def _round(wanted: Mapping[str, list[Kind]], cases: Sequence[Case], judge: Judge, send: Send, what: str) -> None:
    places = {
        f"{case.label}:{kind}:{repeat}": (case, kind, repeat)
        for case in cases
        for kind in wanted[case.label]
        for repeat in range(judge.repeats)
    }
    items = {label: Item(kind, case.subject, repeat) for label, (case, kind, repeat) in places.items()}
    for label, finding in find(items, judge, send, what).items():
        case, kind, repeat = places[label]
        case.findings[kind, repeat] = finding


def _judgements(case: Case) -> list[Judgement]:
    row = case.prediction
    return [
        Judgement(row.question_id, row.rollout_index, kind, repeat, **dataclasses.asdict(finding))
        for (kind, repeat), finding in case.findings.items()
    ]


def _cards(recipe: Recipe, cases: Sequence[Case], variants: Sequence[str]) -> dict[str, dict[str, Any]]:
    judge = recipe.judge
    completions = {variant: [judged(case) for case in cases if case.variant == variant] for variant in variants}
    base = base_lengths(completions[BASE]) if BASE in completions else None
    cards: dict[str, dict[str, Any]] = {}
    for variant in variants:
        ours = [case for case in cases if case.variant == variant]
        cards[variant] = {
            "judge": judge.model,
            "scripted": judge.model == scripted.MODEL,
            "prompt_version": prompts.version(*prompts.JUDGE_NAMES),
            "base": BASE if base is not None else None,
            **aggregate_judged(completions[variant], base, samples=BOOTSTRAP_SAMPLES, seed=recipe.eval.seed),
            "verdicts": count_verdicts(ours),
            "self_agreement": self_agreement(ours) if judge.repeats > 1 else None,
        }
    return cards


def judged(case: Case) -> JudgedCompletion:
    """Take from the verdicts on a completion what the means are made of."""
    accuracy, hit, reach = case.verdict("accuracy"), case.verdict("hit"), case.verdict("reach")
    score, quality = case.verdict("metacognition"), case.verdict("quality")
    thinking = case.verdict("overthinking") or case.verdict("underthinking")
    return JudgedCompletion(
        question_id=case.prediction.question_id,
        tier=case.subject.tier,
        completion_tokens=case.prediction.completion_tokens,
        accuracy=accuracy["verdict"] if accuracy else None,
        hit=hit["hit"] if hit else None,
        useful_share=prefix_share(thinking["prefix"], case.subject.trace or "") if thinking else None,
        metacognition=score["score"] if score else None,
        level=quality["level"] if quality else None,
        phases=tuple(quality["phases"]) if quality else None,
        sentences=tuple(len(sentences(paragraph)) for paragraph in case.subject.paragraphs),
        reach_scored=reach is not None,
        first_correct=reach["first_correct"] if reach else None,
        redundant=tuple(reach["redundant"]) if reach else (),
    )


def count_verdicts(cases: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """Count per kind, of the verdicts that count: asked and scored, by rule, unscored by reason, nothing to judge."""
    counts: dict[str, dict[str, Any]] = {}
    for kind in sorted({kind for case in cases for kind, repeat in case.findings if repeat == 0}):
        found = [case.findings[kind, 0] for case in cases if (kind, 0) in case.findings]
        counts[kind] = {
            "scored": sum(one.verdict is not None and not one.by_rule for one in found),
            "by_rule": sum(one.by_rule for one in found),
            "unscored": dict(sorted(Counter(one.unscored for one in found if one.unscored is not None).items())),
            "without_trace": sum(not applies(kind, case.subject) for case in cases),
        }
    return counts


def self_agreement(cases: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """Hold the repeated verdicts of the judge against its first ones; verdicts by rule are none of its own."""
    pairs = []
    for case in cases:
        for (kind, repeat), finding in case.findings.items():
            first = case.findings[kind, 0]
            if repeat and finding.verdict is not None and first.verdict is not None and not finding.by_rule:
                pairs.append(tuple(labels(kind, verdict, case.subject) for verdict in (first.verdict, finding.verdict)))
    return agreements(pairs)  # type: ignore[arg-type]
