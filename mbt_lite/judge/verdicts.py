"""From a judge's reply to a verdict: exactly one JSON object of exactly the agreed keys, or the reason why it is none.

What a verdict holds is said once, in `fields`: the JSON schema that a server may keep a judge to is made of it, and
every reply is read by it.

Nothing is repaired, searched for or guessed: a verdict inside prose or beside a second one is no verdict, for it may be
quoted from the trace. What encloses a whole reply can quote nothing, and is taken off: one thinking block before the
object, one code fence around it. What can be checked is checked: numbers are whole and in their range, a prefix is a
beginning of the trace (white space aside), paragraphs exist, a level fits the phases it was given for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, NoReturn

from mbt_lite.judge.subjects import Kind, Subject, Verdict
from mbt_lite.text.completion import THINK_CLOSE, THINK_OPEN
from mbt_lite.text.paragraphs import beginnings
from mbt_lite.text.phases import PHASES

ACCURACY = ("correct", "incorrect", "not attempted")
LEVELS = range(6)
# Servers refuse schemas, or compile them for long, whose choices are longer than this together.
MOST_CHOICE_CHARACTERS = 15_000
_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)


class Field(NamedTuple):
    """One value of a verdict: its JSON schema, and the check that raises NoVerdictError for what does not fit it."""

    schema: Mapping[str, Any]
    check: Callable[[Any], None]


class NoVerdictError(Exception):
    """A reply that is no verdict; `str()` is the reason, in words that can be counted."""


def read_verdict(kind: Kind, text: str, subject: Subject) -> Verdict:
    """Read a reply; NoVerdictError says why it is no verdict.

    >>> subject = Subject("Who?", ("Ann",), "", "easy", answer="Ann", trace="Ann.")
    >>> read_verdict("accuracy", '{"reason": "the same name", "verdict": "correct"}', subject)
    {'verdict': 'correct'}
    """
    verdict, agreed = _read_object(_unwrap(text)), fields(kind, subject)
    if verdict.keys() != agreed.keys():
        raise NoVerdictError("other keys than agreed")
    for name, field in agreed.items():
        field.check(verdict[name])
    del verdict["reason"]
    if kind in RELATIONS:
        RELATIONS[kind](verdict, subject)
    return verdict


def verdict_schema(kind: Kind, subject: Subject) -> dict[str, Any]:
    """Give the JSON schema of a verdict, in the part of the standard that servers keep to."""
    agreed = fields(kind, subject)
    properties = {name: dict(field.schema) for name, field in agreed.items()}
    return {"type": "object", "properties": properties, "required": list(agreed), "additionalProperties": False}


def fields(kind: Kind, subject: Subject) -> dict[str, Field]:
    """Give what a verdict of this kind holds, in the order in which a judge is to write it: the reason first."""
    paragraph = _whole(range(1, len(subject.paragraphs) + 1), "no such paragraph")
    own: Mapping[Kind, dict[str, Field]] = {
        "accuracy": {"verdict": _word(ACCURACY, "not one of the words agreed")},
        "hit": {"hit": _flag()},
        "overthinking": {"prefix": _beginning(subject.trace or "")},
        "underthinking": {"prefix": _beginning(subject.trace or "")},
        "metacognition": {"score": _whole(LEVELS, "out of range")},
        "reach": {
            "first_correct": _or_null(paragraph),
            "redundant": _list(paragraph, "redundant is not a list", "a paragraph twice"),
        },
        "quality": {
            "phases": _list(_word(PHASES, "no such phase"), "phases are not a list", "a phase twice"),
            "level": _whole(LEVELS, "out of range"),
        },
    }
    return {"reason": _text("reason is not text"), **own[kind]}


def _check(is_fine: bool, wrong: str) -> None:
    if not is_fine:
        raise NoVerdictError(wrong)


def _text(wrong: str) -> Field:
    return Field({"type": "string"}, lambda value: _check(type(value) is str, wrong))


def _beginning(trace: str) -> Field:
    """Give the field of a beginning: a schema can hold a judge to those that end with a sentence, if it is not long.

    Weak judges quote from the middle, or describe instead of copying: the commonest reason for no verdict.
    """
    choices = beginnings(trace)
    is_long = sum(map(len, choices)) > MOST_CHOICE_CHARACTERS
    schema = {"type": "string", **({} if is_long else {"enum": choices})}
    return Field(schema, _text("prefix is not text").check)


def _word(words: Collection[str], wrong: str) -> Field:
    schema = {"type": "string", "enum": list(words)}
    return Field(schema, lambda value: _check(type(value) is str and value in words, wrong))


def _flag() -> Field:
    return Field({"type": "boolean"}, lambda value: _check(type(value) is bool, "neither true nor false"))


def _whole(numbers: range, beyond: str) -> Field:
    def check(value: Any) -> None:
        _check(type(value) is int, "not a whole number")
        _check(value in numbers, beyond)

    return Field({"type": "integer", "enum": list(numbers)}, check)


def _or_null(field: Field) -> Field:
    schema = {"anyOf": [dict(field.schema), {"type": "null"}]}
    return Field(schema, lambda value: None if value is None else field.check(value))


def _list(item: Field, wrong: str, twice: str) -> Field:
    def check(value: Any) -> None:
        _check(type(value) is list, wrong)
        for one in value:
            item.check(one)
        _check(len(set(value)) == len(value), twice)

    # no schema that all servers take says that items differ; this bounds what a weak judge repeats
    schema = {"type": "array", "items": dict(item.schema), "maxItems": len(item.schema["enum"])}
    return Field(schema, check)


def _unwrap(text: str) -> str:
    r"""Take off what encloses a reply as a whole: one thinking block before it, one code fence around it.

    >>> _unwrap('<think>Hm.</think>\n```json\n{"hit": true}\n```')
    '{"hit": true}'
    """
    before, closed, after = text.strip().partition(THINK_CLOSE)
    # a chat template may have opened the block; an object or a fence has no thinking before it
    is_thought = bool(closed) and not before.startswith(("{", "```")) and THINK_CLOSE not in after
    rest = after if is_thought and THINK_OPEN not in before.removeprefix(THINK_OPEN) else text
    fenced = _FENCE.fullmatch(rest.strip())
    return fenced[1] if fenced and "```" not in fenced[1] else rest


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


def _check_prefix(verdict: Verdict, subject: Subject) -> None:
    _check(prefix_share(verdict["prefix"], subject.trace or "") is not None, "not a beginning of the trace")


def prefix_share(prefix: str, trace: str) -> float | None:
    """Give |prefix| / |trace| in characters without white space; None if it is empty or not a beginning of the trace.

    >>> prefix_share("We  ask.", "We ask. No way.")
    0.5
    """
    begun, whole = "".join(prefix.split()), "".join(trace.split())
    return len(begun) / len(whole) if begun and whole.startswith(begun) else None


def _check_reach(verdict: Verdict, subject: Subject) -> None:
    _check(verdict["first_correct"] not in verdict["redundant"], "contradicts itself")


def _check_quality(verdict: Verdict, subject: Subject) -> None:
    # four and five phases are levels 4 and 5, and nothing else is
    level, shown = verdict["level"], len(verdict["phases"])
    _check((level if level >= 4 else 0) == (shown if shown >= 4 else 0), "contradicts itself")


# What no schema can say: how the values of a verdict go together, and with the trace.
RELATIONS: Mapping[Kind, Callable[[Verdict, Subject], None]] = {
    "overthinking": _check_prefix,
    "underthinking": _check_prefix,
    "reach": _check_reach,
    "quality": _check_quality,
}
