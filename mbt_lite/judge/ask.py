"""Ask a judge until a reply is a verdict, or until its attempts are used up: then a thing is unscored, never zero.

Each attempt has a seed of its own, so that it is another request with another reply in the journal; what an endpoint
refuses once it refuses again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from mbt_lite.endpoint.reading import Useless, WhyUseless, of_use, why_useless
from mbt_lite.endpoint.replies import Reply, TeacherRequest
from mbt_lite.judge.subjects import Kind, Subject, Verdict, applies, messages, verdict_by_rule
from mbt_lite.judge.verdicts import NoVerdictError, read_verdict, verdict_schema
from mbt_lite.recipe.endpoint import EMBEDDED, Speaker
from mbt_lite.recipe.schema import Judge

# More than a verdict may have attempts: no two requests about one thing share a seed.
_SEEDS_PER_REPEAT = 1000


class Send(Protocol):
    """Who asks a judge."""

    def __call__(self, requests: Sequence[TeacherRequest], what: str, *, useless: WhyUseless) -> Mapping[str, Reply]:
        """Give replies by label; `what` names the requests for people, `useless` says why a reply is of no use."""


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

    `send` asks a judge or looks into its journal; `what` names the requests for people. Many first replies in a row
    that are no verdict are a broken judge's, and end it; what failed once may fail again.
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
        if attempt == 0:
            replies = send(list(requests.values()), what, useless=_no_verdict(requests, pending))
        else:
            replies = send(list(requests.values()), f"{what}, attempt {attempt + 1}", useless=of_use)
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


def _no_verdict(requests: Mapping[str, TeacherRequest], items: Mapping[str, Item]) -> WhyUseless:
    """Say how a reply is judged to be of no use: as any is, or because it is no verdict."""
    asked = {request.label: items[label] for label, request in requests.items()}

    def why(reply: Reply, speaker: Speaker) -> Useless | None:
        if (useless := why_useless(reply, speaker)) is not None:
            return useless
        item = asked[reply.label]
        reason = _read(item, reply, 1).unscored
        cure = f"name another {speaker.key}.model, or leave the measure out of {speaker.key}.measures"
        return None if reason is None else Useless(f"no verdict on {item.kind}: {reason}", cure)

    return why


def _read(item: Item, reply: Reply, attempts: int) -> Finding:
    if reply.finish_reason != "stop":
        reason = {"length": "cut off", "refused": "refused"}.get(reply.finish_reason, f"ended by {reply.finish_reason}")
        return Finding(None, reason, by_rule=False, attempts=attempts)
    try:
        verdict = read_verdict(item.kind, reply.text, item.subject)
    except NoVerdictError as error:
        return Finding(None, str(error), by_rule=False, attempts=attempts)
    return Finding(verdict, None, by_rule=False, attempts=attempts)
