"""The judge held against another rater: itself, asked again, or our labels.

A verdict is turned into labels that can be equal or not: the answer's verdict, the paragraph where the useful beginning
ends, each paragraph's being redundant or not, and so on. What either rater left unscored is no pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from mbt_lite.judge.ask import Finding
from mbt_lite.judge.subjects import Kind, Subject, Verdict
from mbt_lite.metrics.agreement import agreement
from mbt_lite.text.phases import PHASES

Labels = dict[str, Hashable]


def labels(kind: Kind, verdict: Verdict, subject: Subject) -> Labels:
    """Turn a verdict into labels; names before a slash are compared together.

    >>> labels("hit", {"hit": True}, Subject("Who?", ("Ann",), "", "easy", None, "Ann."))
    {'hit': True}
    """
    if kind == "accuracy":
        return {"accuracy": verdict["verdict"]}
    if kind == "hit":
        return {"hit": verdict["hit"]}
    if kind == "metacognition":
        return {"metacognition": verdict["score"]}
    if kind == "quality":
        shown = {f"quality phases/{phase}": phase in verdict["phases"] for phase in PHASES}
        return {"quality level": verdict["level"], **shown}
    if kind == "reach":
        numbers = range(1, len(subject.paragraphs) + 1)
        redundant = {f"redundant paragraphs/{number}": number in verdict["redundant"] for number in numbers}
        return {"first correct paragraph": verdict["first_correct"], **redundant}
    return {f"{kind} paragraph": last_paragraph(verdict["prefix"], subject)}


def last_paragraph(prefix: str, subject: Subject) -> int:
    """Give the number of the paragraph in which a beginning of the trace ends."""
    length, end = len("".join(prefix.split())), 0
    for number, paragraph in enumerate(subject.paragraphs, 1):
        end += len("".join(paragraph.split()))
        if length <= end:
            return number
    raise AssertionError(f"a beginning of {length} characters in a trace of {end}")


def agreements(pairs: Iterable[tuple[Mapping[str, Hashable], Mapping[str, Hashable]]]) -> dict[str, dict[str, Any]]:
    """Give label name -> share and kappa of the pairs of labels that both raters gave."""
    by_name: dict[str, list[tuple[Hashable, Hashable]]] = {}
    for one, other in pairs:
        for name in one.keys() & other.keys():
            by_name.setdefault(name.partition("/")[0], []).append((one[name], other[name]))
    return {name: agreement(rated) for name, rated in sorted(by_name.items())}


def count_tries(found: Iterable[tuple[Kind, Finding]]) -> dict[str, dict[str, Any]]:
    """Count per kind what a judge was asked (`n`), how many had a verdict by each try, and why the others have none."""
    by_kind: dict[Kind, list[Finding]] = {}
    for kind, finding in found:
        if not finding.by_rule:
            by_kind.setdefault(kind, []).append(finding)
    return {
        kind: {
            "n": len(findings),
            "by_try": [
                sum(one.verdict is not None and one.attempts <= number for one in findings)
                for number in range(1, 1 + max(one.attempts for one in findings))
            ],
            "unscored": dict(Counter(one.unscored for one in findings if one.unscored is not None).most_common()),
        }
        for kind, findings in by_kind.items()
    }
