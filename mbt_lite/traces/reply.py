"""A teacher's reply as it is read: what is taken off it without loss, its phases, or that it declines.

1. A think block before the reply is the teacher's own and no part of it.
2. `UNSUPPORTED: reason` says that the documents do not bear the gold out: the way out that every prompt offers. It
   declines as the beginning of a reply or as its last line; weak models close whole guides so, or copy our example.
3. Labels of the phases and plain markdown are taken off (`phase_labels`, `markdown`). What stands before the first
   label is a greeting and goes too, unless understanding has no label of its own: then it is that.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Mapping

from mbt_lite.records import PhaseSpan
from mbt_lite.text.completion import THINK_CLOSE, THINK_OPEN
from mbt_lite.text.phases import PHASES
from mbt_lite.traces.markdown import strip_fence, strip_markdown
from mbt_lite.traces.phase_labels import join_phases, phases_by_order, split_labels

_UNSUPPORTED = re.compile(r"\A\W*unsupported\b(?P<reason>.*)", re.DOTALL | re.IGNORECASE)
_UNSUPPORTED_LAST = re.compile(r"^\W*UNSUPPORTED\b(?P<reason>[^\n]*)\Z", re.MULTILINE)
_COPIED = "what is missing, in one sentence"


@dataclasses.dataclass(frozen=True, slots=True)
class TeacherText:
    """What a reply says; `taken_off` counts what it lost, by kind, `unsupported` is the reason of one that declines."""

    text: str
    phases: tuple[PhaseSpan, ...] = ()
    taken_off: Mapping[str, int] = dataclasses.field(default_factory=dict)
    unsupported: str | None = None


def read_reply(reply: str, *, has_phases: bool) -> TeacherText:
    """Read a reply; phases are looked for only where they were asked for.

    >>> read_reply("**UNSUPPORTED:** no document names her.", has_phases=True).unsupported
    'no document names her'
    """
    taken_off = collections.Counter[str]()
    reply = "\n".join(reply.splitlines())
    for take in (_drop_thinking, strip_fence):
        reply, found = take(reply.strip())
        taken_off.update(found)
    declined = _UNSUPPORTED.match(reply) or _UNSUPPORTED_LAST.search(reply)
    reason = declined["reason"].strip("*_:.-–— \n\t") if declined else _COPIED
    if reason.lower() != _COPIED:
        return TeacherText(reply, (), taken_off, reason or "no reason given")
    before, parts = split_labels(reply) if has_phases else (reply, [])
    if not parts:
        text, found = strip_markdown(reply)
        taken_off.update(found)
        return TeacherText(text.strip(), phases_by_order(text.strip()) if has_phases else (), taken_off)
    if before and parts[0][0] != PHASES[0]:
        # understanding has no label of its own
        parts = [(PHASES[0], before), *parts]
    elif before:
        taken_off["greeting"] += 1
    plain = []
    for phase, words in parts:
        words, found = strip_markdown(words)
        taken_off.update(found)
        plain.append((phase, words.strip()))
    return TeacherText(*join_phases(plain), taken_off)


def _drop_thinking(reply: str) -> tuple[str, dict[str, int]]:
    """Cut off a think block that stands first, also one that the chat template opened; never the whole reply."""
    before, closed, rest = reply.rpartition(THINK_CLOSE)
    is_first = THINK_OPEN not in before or reply.startswith(THINK_OPEN)
    is_one = before.count(THINK_OPEN) <= 1 and THINK_CLOSE not in before and THINK_OPEN not in rest
    if closed and is_first and is_one and rest.strip():
        return rest.strip(), {"think block": 1}
    return reply, {}
