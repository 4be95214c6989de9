"""One session with a teacher: workers that ask, a writer that syncs, and what becomes of every kind of answer.

A reply is handed to the kernel as soon as it is here, so `kill -9` loses only what is at a server. It counts as done
once it is synced; replies that arrive while the disk is busy share the next sync, and workers wait when too many do.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import email.utils
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mbt_lite.endpoint.budget import Budget, Cost, estimate_prompt_tokens
from mbt_lite.endpoint.dialect import read_reply
from mbt_lite.endpoint.endpoints import Endpoint, Endpoints
from mbt_lite.endpoint.replies import Reply, ReplyJournal, TeacherRequest, request_body
from mbt_lite.errors import TeacherError
from mbt_lite.recipe.schema import Teacher

if TYPE_CHECKING:
    import openai

RETRIED_STATUSES = (408, 409, 425, 429)
# Statuses that may refuse a parameter rather than the request.
PARAMETER_STATUSES = (400, 422)
# So many failed requests without a success between them mean that the endpoint is down, not that a request is odd.
FAILURES_IN_A_ROW = 8
LONGEST_BACKOFF_SECONDS = 60.0
# A server that is not there will hardly come up while we wait.
LONGEST_CONNECT_BACKOFF_SECONDS = 1.0
# Placeholders for keys, such as EMPTY, are words that a reply may hold; keys are longer.
SHORTEST_SECRET = 16


class _AttemptError(Exception):
    """One attempt failed in a way that another may cure; a free one does not count against `attempts`."""

    def __init__(
        self,
        problem: str,
        *,
        wait_seconds: float | None = None,
        connected: bool = True,
        overloaded: bool = False,
        is_free: bool = False,
    ) -> None:
        super().__init__(problem)
        self.wait_seconds = wait_seconds
        self.connected = connected
        self.overloaded = overloaded
        self.is_free = is_free


class Job(NamedTuple):
    """A request that is to be sent, with its key."""

    key: str
    request: TeacherRequest


class Session:
    """The requests of one `complete_all`: workers that share one queue, and one writer that syncs their replies."""

    def __init__(
        self,
        endpoints: Endpoints,
        settings: Teacher,
        journal: ReplyJournal,
        on_reply: Callable[[Reply], None],
        backoff_seconds: float,
    ) -> None:
        self.endpoints = endpoints
        self.settings = settings
        self.journal = journal
        self.on_reply = on_reply
        self.backoff_seconds = backoff_seconds
        self.budget = Budget(settings, journal.replies.values())
        self.stopped = asyncio.Event()
        self.stopped_by: BaseException | None = None
        self.failures: list[str] = []
        self.failures_in_a_row = 0
        self.refused: dict[str, Reply] = {}
        self.unreported: list[Reply] = []
        self.arrived, self.synced, self.settled = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.is_over = False

    @property
    def where(self) -> str:
        """Name the endpoints, for errors that are about no single one."""
        return f"{self.settings.section} " + ", ".join(endpoint.url for endpoint in self.endpoints.all)

    def count_under_way(self) -> int:
        """Count the requests that are at a server."""
        return sum(endpoint.under_way for endpoint in self.endpoints.all)

    def stop(self, reason: BaseException) -> None:
        """Send nothing more; what is under way goes on. The first reason is the one that is told."""
        self.stopped_by = self.stopped_by or reason
        self.stopped.set()
        self.settled.set()
        self.endpoints.close()

    async def ask_all(self, jobs: Sequence[Job]) -> dict[str, Reply]:
        """Ask with `concurrency` workers; give the refused replies by key, the others are in the journal."""
        queue = iter(jobs)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._report())
                count = min(self.settings.concurrency, len(jobs))
                await asyncio.wait([group.create_task(self._work(queue)) for _ in range(count)])
                self.is_over = True
                self.arrived.set()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self.journal.sync()
        if self.stopped_by is not None:
            raise self.stopped_by
        if self.failures:
            raise TeacherError(
                f"{self.where}: {len(self.failures)} of {len(jobs)} requests got no reply "
                f"(first: {self.failures[0]}); run the same command again, the other replies are kept"
            )
        return self.refused

    async def _work(self, queue: Iterator[Job]) -> None:
        for job in queue:
            reserved = await self._reserve(job.request)
            if reserved is None or self.stopped.is_set():
                return
            try:
                reply = await self._ask(job)
            except TeacherError as error:
                self.stop(error)
                return
            is_kept = reply is not None and reply.finish_reason != "refused"
            self.budget.settle(reserved, reply if is_kept else None)
            self.settled.set()
            if reply is not None:
                await self._keep(reply, is_kept)

    async def _reserve(self, request: TeacherRequest) -> Cost | None:
        """Set aside the most that a request can cost, once others have cost less; None if the budget is used up."""
        most = self.budget.most(request)
        while (exceeded := self.budget.exceeded_by(most)) is not None:
            if not self.budget.under_way:
                self.stop(
                    TeacherError(f"{self.where}: {exceeded} and run the same command again, all replies are kept")
                )
            if self.stopped.is_set():
                return None
            self.settled.clear()
            await self.settled.wait()
        self.budget.reserve(most)
        return most

    async def _keep(self, reply: Reply, is_kept: bool) -> None:
        """Write a reply, and wait if the disk is behind."""
        if is_kept:
            self.journal.write(reply)
        else:
            self.refused[reply.key] = reply
        self.unreported.append(reply)
        self.arrived.set()
        if len(self.unreported) > 2 * self.settings.concurrency:
            self.synced.clear()
            await self.synced.wait()

    async def _report(self) -> None:
        """Sync what was written, then report it: all that arrived during one sync shares the next."""
        while not self.is_over or self.unreported:
            await self.arrived.wait()
            self.arrived.clear()
            replies, self.unreported = self.unreported, []
            try:
                if replies:
                    await asyncio.to_thread(self.journal.sync)
                for reply in replies:
                    self.on_reply(reply)
            except (Exception, KeyboardInterrupt) as error:
                # what is under way is paid for: keep it, then tell
                self.stop(error)
            self.synced.set()

    async def _ask(self, job: Job) -> Reply | None:
        """Try a request until it has a reply; None if it has used up its attempts, or the session stops."""
        attempt = 0
        while (endpoint := await self.endpoints.take()) is not None:
            sent_at = time.monotonic()
            try:
                reply = await self._send(job, endpoint, attempt + 1)
            except _AttemptError as error:
                failure = error
                if failure.overloaded:
                    endpoint.slow_down(sent_at)
                if failure.wait_seconds is not None:
                    endpoint.pause(failure.wait_seconds)
            else:
                endpoint.note_success()
                self._note_outcome(None if reply.finish_reason != "refused" else reply.text)
                return reply
            finally:
                self.endpoints.give_back(endpoint)
            is_aside = not failure.is_free and self.endpoints.note_failure(
                endpoint, str(failure), connected=failure.connected
            )
            if failure.is_free or (is_aside and not failure.connected):
                continue
            attempt += 1
            if attempt == self.settings.attempts:
                self._give_up(job, endpoint, failure)
                break
            await self._wait(failure, endpoint, attempt)
        return None

    def _give_up(self, job: Job, endpoint: Endpoint, failure: _AttemptError) -> None:
        """Note that a request has used up its attempts; TeacherError where nothing listens."""
        problem = f"{failure} after {_count(self.settings.attempts, 'attempt')}"
        if not failure.connected:
            section = self.settings.section
            raise TeacherError(f"{section} {endpoint.url}: {problem}; start the server or set {section}.base_url")
        self.failures.append(f"{job.request.label}: {problem}")
        self._note_outcome(problem)

    def _note_outcome(self, problem: str | None) -> None:
        """Count failures in a row; too many stop the run."""
        self.failures_in_a_row = 0 if problem is None else self.failures_in_a_row + 1
        if problem is not None and self.failures_in_a_row >= FAILURES_IN_A_ROW:
            raise TeacherError(
                f"{self.where}: {self.failures_in_a_row} requests in a row failed (last: {problem}); "
                "mend the endpoint, then run the same command again"
            )

    async def _wait(self, failure: _AttemptError, endpoint: Endpoint, attempt: int) -> None:
        """Wait before the next attempt, doubling with jitter; where the server says how long, its endpoint pauses."""
        if failure.wait_seconds is not None:
            longest = time.monotonic() + self.settings.timeout_seconds
            if all(other.resumes_at > longest for other in self.endpoints.all):
                raise TeacherError(
                    f"{self.settings.section} {endpoint.url}: {failure}, and asks to wait "
                    f"{failure.wait_seconds:.0f} s; run the same command again then, the replies so far are kept"
                )
            return
        longest = LONGEST_BACKOFF_SECONDS if failure.connected else LONGEST_CONNECT_BACKOFF_SECONDS
        seconds = min(longest, self.backoff_seconds * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopped.wait()

    async def _send(self, job: Job, endpoint: Endpoint, attempt: int) -> Reply:
        """Make one attempt; _AttemptError if another may help, TeacherError if none can."""
        import openai

        body = endpoint.dialect.spell(request_body(self.settings, job.request))
        try:
            async with asyncio.timeout(self.settings.timeout_seconds):
                text = await endpoint.client.post("/chat/completions", body=body, cast_to=str)
        except openai.APIStatusError as error:
            return self._judge_status(job, endpoint, error, attempt, body)
        except (TimeoutError, openai.APITimeoutError):
            problem = f"no reply within {self.settings.timeout_seconds:g} s"
            raise _AttemptError(problem, overloaded=True) from None
        except openai.APIConnectionError as error:
            # The SDK has changed its HTTP library before; the name of this class has stayed.
            if type(error.__cause__).__name__ == "ConnectError":
                raise _AttemptError("cannot connect", connected=False) from None
            raise _AttemptError(f"connection lost ({type(error.__cause__).__name__})") from None
        if len(endpoint.client.api_key) >= SHORTEST_SECRET:
            text = self._hide_key(text, endpoint)
        reply = read_reply(job.key, job.request, text)
        if reply is None:
            raise _AttemptError(f"reply is not a chat completion (got {self._hide_key(text, endpoint)[:80]!r})")
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            return dataclasses.replace(reply, estimated_prompt_tokens=estimate_prompt_tokens(job.request.messages))
        return reply

    def _hide_key(self, said: str, endpoint: Endpoint) -> str:
        """Blot the key out of what a server said: some repeat it in their errors."""
        return said if self.settings.api_key_env is None else said.replace(endpoint.client.api_key, "***")

    def _judge_status(
        self, job: Job, endpoint: Endpoint, error: openai.APIStatusError, attempt: int, body: dict[str, Any]
    ) -> Reply:
        """Turn an error status into a refusal, an _AttemptError or a TeacherError."""
        status, said = error.status_code, " ".join(self._hide_key(_error_text(error.body), endpoint).split())
        if status in PARAMETER_STATUSES:
            learnt = endpoint.dialect.learn(body, said, error.param)
            if learnt is not None:
                self.endpoints.say(f"{self.settings.section} {endpoint.url}: {learnt} (got {status}: {said[:200]!r})")
            # another request may have learnt it while this one was under way
            if endpoint.dialect.spell(request_body(self.settings, job.request)) != body:
                raise _AttemptError("spelled in another way", is_free=True) from None
        said = said[:200]
        variable, section = self.settings.api_key_env, self.settings.section
        key_cure = f"set {variable} to a valid key" if variable else f"name the key's variable in {section}.api_key_env"
        cures = {
            401: key_cure,
            402: "top up the account",
            403: key_cure,
            404: f"check {section}.base_url and {section}.model ({self.settings.model})",
        }
        if status in cures:
            tries = _count(attempt, "attempt")
            raise TeacherError(
                f"{self.settings.section} {endpoint.url}: {status} after {tries} (got {said!r}); {cures[status]}"
            ) from None
        if status in RETRIED_STATUSES or status >= 500:
            wait_seconds = _retry_after(error.response.headers)
            is_overload = status == 429 or status >= 500
            raise _AttemptError(f"{status} ({said})", wait_seconds=wait_seconds, overloaded=is_overload) from None
        request = job.request
        return Reply(
            job.key, request.kind, request.label, f"{status}: {said}", "refused", self.settings.model, None, None
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
