"""The client of an OpenAI-compatible teacher: bounded concurrency, retries, every reply on disk as soon as it is here.

Source: the chat-completions schema, through the official `openai` async client. Where we use it our own way:

1. its retries are off: ours honour `Retry-After` and know which errors no retry can cure;
2. replies are read from the body, strictly: a server that answers with something else counts as failed, not as empty;
3. only the message's `content` is used. A server may send its reasoning beside it; a trace must not contain that;
4. a loopback teacher is never reached through a proxy.

What becomes of a request::

    reply                                    journaled, then reported to `on_reply`
    401 402 403 404, cannot connect          TeacherError at once: no request can succeed
    other 4xx                                a Reply with finish_reason "refused", not journaled; the rest go on
    429, 5xx, time-out, broken reply         tried `attempts` times; the rest go on, then TeacherError
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mbt_lite.errors import TeacherError
from mbt_lite.recipe.schema import Teacher
from mbt_lite.teacher.replies import Reply, ReplyJournal, TeacherRequest, request_body, request_key

if TYPE_CHECKING:
    import openai

LOOPBACK = ("127.0.0.1", "localhost", "::1")
RETRIED_STATUSES = (408, 409, 425, 429)
# So many failed requests without a success between them mean that the endpoint is down, not that a request is odd.
FAILURES_IN_A_ROW = 8
LONGEST_BACKOFF_SECONDS = 60.0
# A server that is not there will hardly come up while we wait.
LONGEST_CONNECT_BACKOFF_SECONDS = 1.0


class _AttemptError(Exception):
    """One attempt failed in a way that another may cure; `wait_seconds` is what the server asked for."""

    def __init__(self, problem: str, *, wait_seconds: float | None = None, connected: bool = True) -> None:
        super().__init__(problem)
        self.wait_seconds = wait_seconds
        self.connected = connected


def complete(
    requests: Sequence[TeacherRequest],
    settings: Teacher,
    base_url: str,
    journal: ReplyJournal,
    *,
    on_reply: Callable[[Reply], None] = lambda reply: None,
    backoff_seconds: float = 1.0,
) -> dict[str, Reply]:
    """Run `complete_all` to its end; Ctrl-C cancels what is under way and keeps what is journaled."""
    return asyncio.run(
        complete_all(requests, settings, base_url, journal, on_reply=on_reply, backoff_seconds=backoff_seconds)
    )


async def complete_all(
    requests: Sequence[TeacherRequest],
    settings: Teacher,
    base_url: str,
    journal: ReplyJournal,
    *,
    on_reply: Callable[[Reply], None] = lambda reply: None,
    backoff_seconds: float = 1.0,
) -> dict[str, Reply]:
    """Give the reply of every request, by its label; journaled ones are not sent again, equal ones are sent once.

    `on_reply` is called for each new reply after it is on disk. Waits between attempts start at `backoff_seconds` and
    double. Raises TeacherError when the endpoint cannot be used, or when requests are left without a reply at the end.
    """
    keys = {request.label: request_key(settings, request) for request in requests}
    assert len(keys) == len(requests), "labels name requests: they must differ"
    replies = {key: journal.replies[key] for key in keys.values() if key in journal.replies}
    missing: dict[str, TeacherRequest] = {}
    for request in requests:
        if keys[request.label] not in replies:
            missing.setdefault(keys[request.label], request)
    if missing:
        async with _open_client(settings, base_url) as client:
            session = _Session(client, settings, base_url, backoff_seconds)
            replies |= await session.ask_all(list(missing.values()), journal, on_reply)
    return {label: replies[key] for label, key in keys.items()}


def _open_client(settings: Teacher, base_url: str) -> openai.AsyncOpenAI:
    import openai

    host = urlsplit(base_url).hostname
    if urlsplit(base_url).scheme not in ("http", "https") or host is None:
        raise TeacherError(
            f"teacher {base_url}: not a URL; set teacher.base_url to one such as http://localhost:8000/v1"
        )
    http_client = openai.DefaultAsyncHttpxClient(trust_env=host not in LOOPBACK, timeout=settings.timeout_seconds)
    return openai.AsyncOpenAI(
        base_url=base_url,
        api_key=_read_key(settings, base_url),
        max_retries=0,
        timeout=settings.timeout_seconds,
        http_client=http_client,
    )


def _read_key(settings: Teacher, base_url: str) -> str:
    """Read the key from the variable that the recipe names; servers without keys get a placeholder."""
    if settings.api_key_env is None:
        return "none"
    key = os.environ.get(settings.api_key_env)
    if not key:
        raise TeacherError(f"teacher {base_url}: no key; set the environment variable {settings.api_key_env}")
    if not (key.isascii() and key.isprintable()) or key != key.strip():
        raise TeacherError(
            f"teacher {base_url}: the key in {settings.api_key_env} cannot stand in a header; "
            "set it again, without line breaks, outer spaces and accents"
        )
    return key


class _Session:
    """The requests of one `complete_all` over one client."""

    def __init__(self, client: openai.AsyncOpenAI, settings: Teacher, base_url: str, backoff_seconds: float) -> None:
        self.client = client
        self.settings = settings
        self.base_url = base_url
        self.backoff_seconds = backoff_seconds
        self.failures: list[str] = []
        self.failures_in_a_row = 0

    async def ask_all(
        self, requests: Sequence[TeacherRequest], journal: ReplyJournal, on_reply: Callable[[Reply], None]
    ) -> dict[str, Reply]:
        """Ask with `concurrency` workers that share one queue; give the replies by request key."""
        replies: dict[str, Reply] = {}
        queue = iter(requests)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.settings.concurrency, len(requests))):
                    group.create_task(self._work(queue, replies, journal, on_reply))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        if self.failures:
            raise TeacherError(
                f"teacher {self.base_url}: {len(self.failures)} of {len(requests)} requests got no reply "
                f"(first: {self.failures[0]}); run the same command again, the other replies are kept"
            )
        return replies

    async def _work(
        self,
        queue: Iterator[TeacherRequest],
        replies: dict[str, Reply],
        journal: ReplyJournal,
        on_reply: Callable[[Reply], None],
    ) -> None:
        for request in queue:
            reply = await self._ask(request)
            if reply is None:
                continue
            if reply.finish_reason != "refused":
                journal.add(reply)
            replies[reply.key] = reply
            on_reply(reply)

    async def _ask(self, request: TeacherRequest) -> Reply | None:
        """Try a request until it has a reply; None if it has used up its attempts."""
        problem = "never tried"
        for attempt in range(1, self.settings.attempts + 1):
            try:
                reply = await self._send(request, attempt)
            except _AttemptError as error:
                problem = f"{error} after {_count(attempt, 'attempt')}"
                if attempt < self.settings.attempts:
                    await asyncio.sleep(self._wait_seconds(error, attempt))
                elif not error.connected:
                    raise TeacherError(
                        f"teacher {self.base_url}: {problem}; start the server or set teacher.base_url"
                    ) from None
            else:
                self._note_outcome(None if reply.finish_reason != "refused" else reply.text)
                return reply
        self.failures.append(f"{request.label}: {problem}")
        self._note_outcome(problem)
        return None

    def _note_outcome(self, problem: str | None) -> None:
        """Count failures in a row; too many stop the run."""
        self.failures_in_a_row = 0 if problem is None else self.failures_in_a_row + 1
        if problem is not None and self.failures_in_a_row >= FAILURES_IN_A_ROW:
            raise TeacherError(
                f"teacher {self.base_url}: {self.failures_in_a_row} requests in a row failed (last: {problem}); "
                "mend the endpoint, then run the same command again"
            )

    def _wait_seconds(self, error: _AttemptError, attempt: int) -> float:
        """Give the wait before the next attempt: the server's wish, or doubling with jitter."""
        if error.wait_seconds is not None:
            if error.wait_seconds > self.settings.timeout_seconds:
                raise TeacherError(
                    f"teacher {self.base_url}: {error}, and asks to wait {error.wait_seconds:.0f} s; "
                    "run the same command again then, the replies so far are kept"
                )
            return error.wait_seconds
        longest = LONGEST_BACKOFF_SECONDS if error.connected else LONGEST_CONNECT_BACKOFF_SECONDS
        return min(longest, self.backoff_seconds * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)

    async def _send(self, request: TeacherRequest, attempt: int) -> Reply:
        """Make one attempt; _AttemptError if another may help, TeacherError if none can."""
        import openai

        try:
            async with asyncio.timeout(self.settings.timeout_seconds):
                response = await self.client.chat.completions.with_raw_response.create(
                    **request_body(self.settings, request)
                )
                reply = _read_reply(request_key(self.settings, request), request, response.text)
        except openai.APIStatusError as error:
            return self._judge_status(request, error, attempt)
        except (TimeoutError, openai.APITimeoutError):
            raise _AttemptError(f"no reply within {self.settings.timeout_seconds:g} s") from None
        except openai.APIConnectionError as error:
            # The SDK has changed its HTTP library before; the name of this class has stayed.
            if type(error.__cause__).__name__ == "ConnectError":
                raise _AttemptError("cannot connect", connected=False) from None
            raise _AttemptError(f"connection lost ({type(error.__cause__).__name__})") from None
        if reply is None:
            raise _AttemptError(f"reply is not a chat completion (got {self._hide_key(response.text)[:80]!r})")
        return reply

    def _hide_key(self, said: str) -> str:
        """Blot the key out of what a server said: some repeat it in their errors."""
        return said if self.settings.api_key_env is None else said.replace(self.client.api_key, "***")

    def _judge_status(self, request: TeacherRequest, error: openai.APIStatusError, attempt: int) -> Reply:
        """Turn an error status into a refusal, an _AttemptError or a TeacherError."""
        status, said = error.status_code, " ".join(self._hide_key(_error_text(error.body)).split())[:200]
        variable = self.settings.api_key_env
        key_cure = f"set {variable} to a valid key" if variable else "name the key's variable in teacher.api_key_env"
        cures = {
            401: key_cure,
            402: "top up the account",
            403: key_cure,
            404: f"check teacher.base_url and teacher.model ({self.settings.model})",
        }
        if status in cures:
            tries = _count(attempt, "attempt")
            raise TeacherError(
                f"teacher {self.base_url}: {status} after {tries} (got {said!r}); {cures[status]}"
            ) from None
        if status in RETRIED_STATUSES or status >= 500:
            raise _AttemptError(f"{status} ({said})", wait_seconds=_retry_after(error.response.headers)) from None
        key = request_key(self.settings, request)
        return Reply(key, request.kind, request.label, f"{status}: {said}", "refused", self.settings.model, None, None)


def _read_reply(key: str, request: TeacherRequest, body: str) -> Reply | None:
    """Read a chat completion; None if it is none.

    A `content` of null (all tokens spent on reasoning) is an empty text, for the caller to reject with a reason.
    """
    try:
        completion = json.loads(body)
        choice = completion["choices"][0]
        text, finish_reason, model = choice["message"]["content"], choice["finish_reason"], completion["model"]
        usage = completion.get("usage")
        prompt_tokens, completion_tokens = (
            (usage["prompt_tokens"], usage["completion_tokens"]) if usage else (None, None)
        )
        well_formed = isinstance(text, str | None) and isinstance(finish_reason, str) and isinstance(model, str)
    except (json.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError):
        well_formed = False
    if not well_formed:
        return None
    return Reply(
        key, request.kind, request.label, (text or "").strip(), finish_reason, model, prompt_tokens, completion_tokens
    )


def _error_text(body: Any) -> str:
    """Give what an error body says: its message, or the body as it is."""
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        return str(body["message"])
    return str(body) if body is not None else ""


def _retry_after(headers: Any) -> float | None:
    """Read `Retry-After`: seconds or an HTTP date; None where it is missing or neither."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        parsed = email.utils.parsedate_tz(value)
        return None if parsed is None else max(0.0, email.utils.mktime_tz(parsed) - time.time())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
