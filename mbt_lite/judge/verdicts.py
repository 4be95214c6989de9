"""From a judge's reply to a verdict: exactly one JSON object of exactly the agreed keys, or the reason why it is none.

Nothing is repaired, searched for or guessed: a verdict inside prose, inside a code fence or beside a second one is no
verdict, for it may be quoted from the trace. What can be checked is checked: numbers are whole and in their range, a
prefix is a beginning of the trace (white space aside), paragraphs exist, a level fits the phases it was given for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from mbt_lite.judge.subjects import Kind, Subject, Verdict
from mbt_lite.text.phases import PHASES

ACCURACY = ("correct", "incorrect", "not attempted")
KEYS: Mapping[Kind, frozenset[str]] = {
    "accuracy": frozenset({"reason", "verdict"}),
    "hit": frozenset({"reason", "hit"}),
    "overthinking": frozenset({"reason", "prefix"}),
    "underthinking": frozenset({"reason", "prefix"}),
    "metacognition": frozenset({"reason", "score"}),
    "reach": frozenset({"reason", "first_correct", "redundant"}),
    "quality": frozenset({"reason", "phases", "level"}),
}


class NoVerdictError(Exception):
    """A reply that is no verdict; `str()` is the reason, in words that can be counted."""


def read_verdict(kind: Kind, text: str, subject: Subject) -> Verdict:
    """Read a reply; NoVerdictError says why it is no verdict.

    >>> subject = Subject("Who?", ("Ann",), "", "easy", answer="Ann", trace="Ann.")
    >>> read_verdict("accuracy", '{"reason": "the same name", "verdict": "correct"}', subject)
    {'verdict': 'correct'}
    """
    verdict = _read_object(text)
    if verdict.keys() != KEYS[kind]:
        raise NoVerdictError("other keys than agreed")
    if type(verdict.pop("reason")) is not str:
        raise NoVerdictError("reason is not text")
    CHECKS[kind](verdict, subject)
    return verdict


def _read_object(text: str) -> dict[str, Any]:
    if not text.strip():
        raise NoVerdictError("empty")
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
    except (json.JSONDecodeError, RecursionError) as error:
        raise NoVerdictError("not one JSON object") from error
    except ValueError as error:
        # Python refuses whole numbers of thousands of digits
        raise NoVerdictError("not a number") from error
    if type(value) is not dict:
        raise NoVerdictError("not one JSON object")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise NoVerdictError("a key twice")
    return dict(pairs)


def _refuse_constant(name: str) -> NoReturn:
    raise NoVerdictError("not a number")


def _check_accuracy(verdict: Verdict, subject: Subject) -> None:
    if verdict["verdict"] not in ACCURACY:
        raise NoVerdictError("not one of the words agreed")


def _check_hit(verdict: Verdict, subject: Subject) -> None:
    if type(verdict["hit"]) is not bool:
        raise NoVerdictError("neither true nor false")


def _check_prefix(verdict: Verdict, subject: Subject) -> None:
    if type(verdict["prefix"]) is not str:
        raise NoVerdictError("prefix is not text")
    share = prefix_share(verdict["prefix"], subject.trace or "")
    if share is None:
        raise NoVerdictError("not a beginning of the trace")


def prefix_share(prefix: str, trace: str) -> float | None:
    """Give |prefix| / |trace| in characters without white space; None if it is empty or not a beginning of the trace.

    >>> prefix_share("We  ask.", "We ask. No way.")
    0.5
    """
    begun, whole = "".join(prefix.split()), "".join(trace.split())
    return len(begun) / len(whole) if begun and whole.startswith(begun) else None


def _check_score(verdict: Verdict, subject: Subject) -> None:
    _check_level(verdict["score"])


def _check_level(value: object) -> None:
    if type(value) is not int:
        raise NoVerdictError("not a whole number")
    if not 0 <= value <= 5:
        raise NoVerdictError("out of range")


def _check_reach(verdict: Verdict, subject: Subject) -> None:
    first, redundant = verdict["first_correct"], verdict["redundant"]
    if type(redundant) is not list:
        raise NoVerdictError("redundant is not a list")
    for number in [*redundant, *([] if first is None else [first])]:
        if type(number) is not int:
            raise NoVerdictError("not a whole number")
        if not 1 <= number <= len(subject.paragraphs):
            raise NoVerdictError("no such paragraph")
    if len(set(redundant)) < len(redundant):
        raise NoVerdictError("a paragraph twice")
    if first in redundant:
        raise NoVerdictError("contradicts itself")


def _check_quality(verdict: Verdict, subject: Subject) -> None:
    phases, level = verdict["phases"], verdict["level"]
    if type(phases) is not list or not all(type(phase) is str for phase in phases):
        raise NoVerdictError("phases are not a list of names")
    if not set(phases) <= set(PHASES):
        raise NoVerdictError("no such phase")
    if len(set(phases)) < len(phases):
        raise NoVerdictError("a phase twice")
    _check_level(level)
    # four and five phases are levels 4 and 5, and nothing else is
    if (level if level >= 4 else 0) != (len(phases) if len(phases) >= 4 else 0):
        raise NoVerdictError("contradicts itself")


CHECKS: Mapping[Kind, Callable[[Verdict, Subject], None]] = {
    "accuracy": _check_accuracy,
    "hit": _check_hit,
    "overthinking": _check_prefix,
    "underthinking": _check_prefix,
    "metacognition": _check_score,
    "reach": _check_reach,
    "quality": _check_quality,
}
