"""Ask a judge until a reply is a verdict, or until its attempts are used up: then a thing is unscored, never zero.

Each attempt has a seed of its own, so that it is another request with another reply in the journal; what an endpoint
refuses once it refuses again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mbt_lite.endpoint.replies import Reply, TeacherRequest
from mbt_lite.judge.subjects import Kind, Subject, Verdict, applies, messages, verdict_by_rule
from mbt_lite.judge.verdicts import NoVerdictError, read_verdict, verdict_schema
from mbt_lite.recipe.endpoint import EMBEDDED
from mbt_lite.recipe.schema import Judge

# More than a verdict may have attempts: no two requests about one thing share a seed.
_SEEDS_PER_REPEAT = 1000

Send = Callable[[Sequence[TeacherRequest], str], Mapping[str, Reply]]


class Item(NamedTuple):
    """One thing to judge: a kind, the completion, and which of the repeated verdicts it is."""

    kind: Kind
    subject: Subject
    repeat: int


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """A verdict, or the reason why there is none; `by_rule` is True iff no judge was asked."""

    verdict: Verdict | None
    unscored: str | None
    by_rule: bool
    attempts: int


def find(items: Mapping[str, Item], judge: Judge, send: Send, what: str) -> dict[str, Finding]:
    """Judge each item; give the findings by its label, in the order of `items`, without what has nothing to judge.

    `send` asks a judge or looks into its journal; `what` names the requests for people.
    """
    found: dict[str, Finding] = {}
    pending: dict[str, Item] = {}
    for label, item in items.items():
        verdict = verdict_by_rule(item.kind, item.subject)
        if verdict is not None:
            found[label] = Finding(verdict, None, by_rule=True, attempts=0)
        elif applies(item.kind, item.subject):
            pending[label] = item
    for attempt in range(judge.verdict_attempts):
        requests = {label: _request(label, item, judge, attempt) for label, item in pending.items()}
        replies = send(list(requests.values()), what if attempt == 0 else f"{what}, attempt {attempt + 1}")
        again: dict[str, Item] = {}
        for label, item in pending.items():
            reply = replies[requests[label].label]
            found[label] = _read(item, reply, attempt + 1)
            if found[label].verdict is None and reply.finish_reason != "refused":
                again[label] = item
        pending = again
    return {label: found[label] for label in items if label in found}


def _request(label: str, item: Item, judge: Judge, attempt: int) -> TeacherRequest:
    seed = _SEEDS_PER_REPEAT * item.repeat + attempt
    # the embedded judge writes by rule, in the agreed form
    wants_schema = judge.json_schema == "auto" and judge.base_url != EMBEDDED
    return TeacherRequest(
        kind=f"judge_{item.kind}",
        label=f"{label}:try{attempt}",
        messages=messages(item.kind, item.subject),
        seed=seed,
        schema=verdict_schema(item.kind, item.subject) if wants_schema else None,
    )


def _read(item: Item, reply: Reply, attempts: int) -> Finding:
    if reply.finish_reason != "stop":
        reason = {"length": "cut off", "refused": "refused"}.get(reply.finish_reason, f"ended by {reply.finish_reason}")
        return Finding(None, reason, by_rule=False, attempts=attempts)
    try:
        verdict = read_verdict(item.kind, reply.text, item.subject)
    except NoVerdictError as error:
        return Finding(None, str(error), by_rule=False, attempts=attempts)
    return Finding(verdict, None, by_rule=False, attempts=attempts)
