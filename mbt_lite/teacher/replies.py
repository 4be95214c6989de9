"""Teacher requests and replies, and the journal between them: a reply on disk is never asked for again.

A request is known by the SHA-256 of everything that shapes its reply (model, messages, sampling, seed), so a journal
stays good when the order or the number of requests changes, and is useless for a request that differs in one letter.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mbt_lite.recipe.schema import Teacher
from mbt_lite.records import Message, from_row, to_row
from mbt_lite.run_dir import Journal, read_jsonl


@dataclasses.dataclass(frozen=True, slots=True)
class TeacherRequest:
    """One request: `kind` is what is asked for (solution, mbt_s, mbt_r), `label` names it for people, once per run."""

    kind: str
    label: str
    messages: tuple[Message, ...]
    seed: int


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """One reply: the message's content only, never a separate reasoning field.

    `finish_reason` is the endpoint's word ("stop", "length", ...), or "refused" for a request that it would not take;
    `text` is then its explanation. `model` is the name that the endpoint signed with. Tokens are None where it counted
    none.
    """

    key: str
    kind: str
    label: str
    text: str
    finish_reason: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None


def request_body(settings: Teacher, request: TeacherRequest) -> dict[str, Any]:
    """Give the chat-completions body of a request."""
    return {
        "model": settings.model,
        "messages": [dict(message) for message in request.messages],
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_tokens": settings.max_completion_tokens,
        "seed": request.seed,
    }


def request_key(settings: Teacher, request: TeacherRequest) -> str:
    """Give the SHA-256 of a request's canonical body."""
    canonical = json.dumps(request_body(settings, request), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class ReplyJournal:
    """Every reply of a run; `replies` maps keys to those on disk."""

    def __init__(self, path: Path) -> None:
        # read first: a broken line must not leave the file open
        read = [from_row(Reply, row, f"{path}:{line}") for line, row in enumerate(read_jsonl(path), 1)]
        self.replies = {reply.key: reply for reply in read}
        self._journal = Journal(path)

    def count_missing(self, requests: Iterable[TeacherRequest], settings: Teacher) -> int:
        """Count the replies that are still to come; equal requests share one."""
        return len({request_key(settings, request) for request in requests} - self.replies.keys())

    def add(self, reply: Reply) -> None:
        """Keep a reply; it is on disk when this returns."""
        self._journal.append(to_row(reply))
        self.replies[reply.key] = reply

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    def __enter__(self) -> ReplyJournal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def count_usage(replies: Iterable[Reply]) -> dict[str, dict[str, int]]:
    """Give replies and tokens per kind of request; `uncounted` are replies whose tokens the endpoint did not report."""
    usage: dict[str, dict[str, int]] = {}
    for reply in replies:
        account = usage.setdefault(
            reply.kind, {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0, "uncounted": 0}
        )
        account["requests"] += 1
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            account["uncounted"] += 1
        else:
            account["prompt_tokens"] += reply.prompt_tokens
            account["completion_tokens"] += reply.completion_tokens
    return usage
