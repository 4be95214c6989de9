"""Teacher requests and replies, the journal between them, and what they cost: a reply on disk is never asked for again.

A request is known by the SHA-256 of everything that shapes its reply (model, messages, sampling, seed), so a journal
stays good when the order or the number of requests changes, and is useless for a request that differs in one letter.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mbt_lite.files import Journal, read_jsonl
from mbt_lite.recipe.endpoint import Endpoint, Speaker
from mbt_lite.records import Message, from_row, to_row

# What an endpoint that counts no tokens is taken to have used.
CHARACTERS_PER_TOKEN = 4


@dataclasses.dataclass(frozen=True, slots=True)
class TeacherRequest:
    """One request: `kind` is what is asked for (solution, mbt_s, mbt_r), `label` names it for people, once per run.

    `schema` is the JSON schema of a good reply, sent to servers that keep to one; like the rest of a dialect it is no
    part of the request's key. `is_completion`: trace and answer are wanted, so reasoning that a server sends beside the
    content belongs to the text.
    """

    kind: str
    label: str
    messages: tuple[Message, ...]
    seed: int
    schema: Mapping[str, Any] | None = None
    is_completion: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """One reply: the message's content, and the reasoning beside it in a completion only (see `reading`).

    `finish_reason` is "stop", "length" or the server's own word, or "refused" for a request that it would not take;
    `text` is then its explanation. `model` is the name that the server signed with, None if it did not. Tokens are None
    where it counted none; `estimated_prompt_tokens` then says what the account takes for the prompt. `endpoint` is the
    key of who was asked, None in journals that do not tell.
    """

    key: str
    kind: str
    label: str
    text: str
    finish_reason: str
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    estimated_prompt_tokens: int | None = None
    endpoint: str | None = None


def request_body(settings: Speaker, request: TeacherRequest) -> dict[str, Any]:
    """Give the chat-completions body of a request."""
    return {
        "model": settings.model,
        "messages": [dict(message) for message in request.messages],
        "temperature": settings.temperature,
        **({} if settings.top_p is None else {"top_p": settings.top_p}),
        "max_tokens": settings.max_completion_tokens,
        "seed": request.seed,
    }


def request_key(settings: Speaker, request: TeacherRequest) -> str:
    """Give the SHA-256 of a request's canonical body."""
    canonical = json.dumps(request_body(settings, request), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class ReplyJournal:
    """Every reply of a run: `replies` maps keys to those that count, `paid` has all, also those asked for again."""

    def __init__(self, path: Path) -> None:
        # read first: a broken line must not leave the file open
        self.paid = [from_row(Reply, row, f"{path}:{line}") for line, row in enumerate(read_jsonl(path), 1)]
        self.replies = {reply.key: reply for reply in self.paid}
        self._journal = Journal(path)

    def count_missing(self, requests: Iterable[TeacherRequest], settings: Speaker) -> int:
        """Count the replies that are still to come; equal requests share one."""
        return len({request_key(settings, request) for request in requests} - self.replies.keys())

    def add(self, reply: Reply) -> None:
        """Keep a reply; it is on disk when this returns."""
        self.write(reply)
        self.sync()

    def write(self, reply: Reply) -> None:
        """Keep a reply: it survives the death of this process, and after `sync` that of the machine."""
        self._journal.write([to_row(reply)])
        self.paid.append(reply)
        self.replies[reply.key] = reply

    def sync(self) -> None:
        """Wait until all replies written so far are on disk."""
        self._journal.sync()

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    def __enter__(self) -> ReplyJournal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def price(settings: Speaker, prompt_tokens: int, completion_tokens: int) -> float | None:
    """Give dollars for tokens; None without prices.

    >>> price(Speaker(price_per_million_prompt_tokens=1.0, price_per_million_completion_tokens=4.0), 500_000, 250_000)
    1.5
    """
    prompt, completion = settings.price_per_million_prompt_tokens, settings.price_per_million_completion_tokens
    if prompt is None or completion is None:
        return None
    return (prompt * prompt_tokens + completion * completion_tokens) / 1e6


def tokens_of(reply: Reply) -> tuple[int, int]:
    """Give a reply's prompt and completion tokens, each estimated where the endpoint did not count it."""
    prompt, completion = reply.prompt_tokens, reply.completion_tokens
    return (
        prompt if prompt is not None else reply.estimated_prompt_tokens or 0,
        completion if completion is not None else math.ceil(len(reply.text) / CHARACTERS_PER_TOKEN),
    )


def count_usage(replies: Iterable[Reply], *endpoints: Endpoint) -> dict[str, dict[str, Any]]:
    """Give replies, tokens and, with the prices of the endpoint that was asked, dollars per kind of request.

    A reply that does not tell who was asked is the first endpoint's.

    `uncounted` are replies whose tokens the endpoint did not report: they are missing in the tokens, but are estimated
    in `usd`.
    """
    usage: dict[str, dict[str, Any]] = {}
    prices = {endpoint.key: endpoint for endpoint in endpoints}
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
        asked = prices.get(reply.endpoint or next(iter(prices), ""))
        cost = price(asked, *tokens_of(reply)) if isinstance(asked, Speaker) else None
        if cost is not None:
            account["usd"] = account.get("usd", 0.0) + cost
    return usage
