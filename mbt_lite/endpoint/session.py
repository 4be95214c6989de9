"""One session with an endpoint: workers that ask, a writer that syncs, and what becomes of every kind of answer.

A reply is handed to the kernel as soon as it is here, so `kill -9` loses only what is at a server. It counts as done
once it is synced; replies that arrive while the disk is busy share the next sync, and workers wait when too many do.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from mbt_lite.endpoint.budget import Budget, Cost
from mbt_lite.endpoint.dialect import PROBE, keeps_to_probe
from mbt_lite.endpoint.post import AttemptError, StatusError, hide_key, hide_secret, post
from mbt_lite.endpoint.reading import NoReplyError, WhyUseless, read_reply
from mbt_lite.endpoint.replies import Reply, ReplyJournal, TeacherRequest, request_body, request_key
from mbt_lite.endpoint.servers import Server, Servers
from mbt_lite.errors import TeacherError
from mbt_lite.recipe.endpoint import Speaker

_RETRIED_STATUSES = (408, 409, 425, 429)
# What proxies and servers say of a model server that is away or not ready.
_AWAY_STATUSES = (502, 503, 504)
# Statuses that may refuse a parameter rather than the request.
_NO_MODEL = re.compile(r"\bmodel\b.{0,80}\b(not found|not exist|unknown)\b", re.IGNORECASE)
_PARAMETER_STATUSES = (400, 422)
# Some fail over a schema that they cannot keep to.
_SCHEMA_STATUSES = (500, 501)
# So many failed requests without a success between them mean that the endpoint is down, not that a request is odd.
FAILURES_IN_A_ROW = 8
_LONGEST_BACKOFF_SECONDS = 60.0
# A server that has answered and is away is restarting, or loads its model: in waits between attempts.
_OUTAGE_WAITS = 600.0
# Replies of no use are paid for like others: so many in a row are the endpoint's, and more than the trial of gen.
USELESS_IN_A_ROW = 20
# A server that is not there will hardly come up while we wait.
_LONGEST_CONNECT_BACKOFF_SECONDS = 1.0
# A verdict's probe is one word long; a model that thinks first may need more, and is asked without a schema.
_PROBE_TOKENS = 256


class Job(NamedTuple):
    """A request that is to be sent, with its key."""

    key: str
    request: TeacherRequest


class Session:
    """The requests of one `complete`: workers that share one queue, and one writer that syncs their replies."""

    def __init__(
        self,
        servers: Servers,
        settings: Speaker,
        journal: ReplyJournal,
        on_reply: Callable[[Reply], None],
        useless: WhyUseless,
        backoff_seconds: float,
    ) -> None:
        self.servers = servers
        self.settings = settings
        self.journal = journal
        self.on_reply = on_reply
        self.useless = useless
        self.backoff_seconds = backoff_seconds
        self.budget = Budget(settings, journal.paid)
        self.stopped = asyncio.Event()
        self.stopped_by: BaseException | None = None
        self.failures: list[str] = []
        self.failures_in_a_row = 0
        self.useless_in_a_row = 0
        self.refused: dict[str, Reply] = {}
        self.unreported: list[Reply] = []
        self.arrived, self.synced, self.settled = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.is_over = False

    @property
    def where(self) -> str:
        """Name the servers, for errors that are about no single one."""
        return f"{self.settings.key} " + ", ".join(server.url for server in self.servers.all)

    def count_under_way(self) -> int:
        """Count the requests that are at a server."""
        return sum(server.under_way for server in self.servers.all)

    def stop(self, reason: BaseException) -> None:
        """Send nothing more; what is under way goes on. The first reason is the one that is told."""
        self.stopped_by = self.stopped_by or reason
        self.stopped.set()
        self.settled.set()
        self.servers.close()

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
            if reply is not None and is_kept:
                self._note_use(reply)

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
        while (server := await self.servers.take()) is not None:
            sent_at = time.monotonic()
            try:
                reply = await self._send(job, server, attempt + 1)
            except AttemptError as error:
                failure = error
                if failure.overloaded:
                    server.slow_down(sent_at)
                if failure.wait_seconds is not None:
                    server.pause(failure.wait_seconds)
            else:
                self.servers.note_success(server)
                self._note_outcome(None if reply.finish_reason != "refused" else reply.text)
                return reply
            finally:
                self.servers.give_back(server)
            is_aside = not failure.is_free and self.servers.note_failure(
                server, str(failure), connected=failure.connected
            )
            if failure.is_free or (is_aside and not failure.connected) or self._waits_for(server, failure, sent_at):
                continue
            attempt += 1
            if attempt == self.settings.attempts:
                self._give_up(job, server, failure)
                break
            await self._wait(failure, server, attempt)
        return None

    def _waits_for(self, server: Server, failure: AttemptError, sent_at: float) -> bool:
        """Tell whether a failure is an outage that is waited for, and no attempt; TeacherError if it lasts too long.

        An error status may be the request's own fault: it counts, unless the server was known to be away.
        """
        if not (failure.is_outage and server.dialect.has_answered):
            return False
        is_known = server.down_since is not None and server.down_since <= sent_at
        patience = _OUTAGE_WAITS * self.backoff_seconds
        if self.servers.note_outage(server, str(failure), patience) > patience:
            raise TeacherError(
                f"{self.settings.key} {server.url}: {failure}, and was not back within {patience:.0f} s; "
                "start the server, then run the same command again: all replies are kept"
            )
        return is_known or not failure.connected

    def _give_up(self, job: Job, server: Server, failure: AttemptError) -> None:
        """Note that a request has used up its attempts; TeacherError where nothing listens."""
        problem = f"{failure} after {_count(self.settings.attempts, 'attempt')}"
        if not failure.connected:
            section = self.settings.key
            raise TeacherError(f"{section} {server.url}: {problem}; start the server or set {section}.base_url")
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

    def _note_use(self, reply: Reply) -> None:
        """Count replies of no use in a row; too many stop the session before more are paid for."""
        why = self.useless(reply, self.settings)
        self.useless_in_a_row = 0 if why is None else self.useless_in_a_row + 1
        if why is not None and self.useless_in_a_row >= USELESS_IN_A_ROW:
            self.stop(
                TeacherError(
                    f"{self.where}: {self.useless_in_a_row} replies in a row are of no use (last: {why.cause}); "
                    f"{why.cure}, then run the same command again: all replies are kept"
                )
            )

    async def _wait(self, failure: AttemptError, server: Server, attempt: int) -> None:
        """Wait before the next attempt, doubling with jitter; where the server says how long, its server pauses."""
        if failure.wait_seconds is not None:
            longest = time.monotonic() + self.settings.timeout_seconds
            if all(other.resumes_at > longest for other in self.servers.all):
                raise TeacherError(
                    f"{self.settings.key} {server.url}: {failure}, and asks to wait "
                    f"{failure.wait_seconds:.0f} s; run the same command again then, the replies so far are kept"
                )
            return
        longest = _LONGEST_BACKOFF_SECONDS if failure.connected else _LONGEST_CONNECT_BACKOFF_SECONDS
        seconds = min(longest, self.backoff_seconds * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopped.wait()

    async def _send(self, job: Job, server: Server, attempt: int) -> Reply:
        """Make one attempt; AttemptError if another may help, TeacherError if none can."""
        if job.request.schema is not None and server.dialect.keeps_schema is None:
            async with server.probing:
                await self._probe(server)
        body = server.dialect.spell(request_body(self.settings, job.request), job.request.schema)
        try:
            return self._read(job, server, await post(server, body, self.settings.timeout_seconds))
        except StatusError as error:
            return self._judge_status(job, server, error, attempt, body)
        except NoReplyError as error:
            said = hide_key(str(error), server)
            if error.status is None:
                raise AttemptError(said) from None
            return self._judge_status(job, server, StatusError(error.status, said), attempt, body)

    def _read(self, job: Job, server: Server, text: str) -> Reply:
        """Read a reply, and tell once what is odd about it."""
        reply, odd = read_reply(job.key, job.request, text, self.settings)
        # as JSON it may have been written in other characters
        for name, sentence in odd.items():
            if server.dialect.is_news(name):
                self.servers.say(server, hide_secret(sentence, server))
        return dataclasses.replace(
            reply,
            text=hide_secret(reply.text, server),
            finish_reason=hide_secret(reply.finish_reason, server),
            model=None if reply.model is None else hide_secret(reply.model, server),
        )

    async def _probe(self, server: Server) -> None:
        """Find out whether a server keeps to a JSON schema: one that refuses or ignores it is asked without."""
        job, dialect = Job(request_key(self.settings, PROBE), PROBE), server.dialect
        most = self.budget.most(PROBE)
        while dialect.keeps_schema is None and self.budget.exceeded_by(most) is None:
            body = dialect.spell({**request_body(self.settings, PROBE), "max_tokens": self._probe_tokens}, PROBE.schema)
            try:
                reply = self._read(job, server, await post(server, body, self.settings.timeout_seconds))
            except StatusError as error:
                if error.status not in (*_PARAMETER_STATUSES, *_SCHEMA_STATUSES):
                    return
                if not self._learn(server, body, error):
                    dialect.keeps_schema = False
            except NoReplyError:
                dialect.keeps_schema = False
            else:
                dialect.keeps_schema = keeps_to_probe(reply.text)
                self.journal.write(reply)
                self.budget.reserve(most)
                self.budget.settle(most, reply)
            if dialect.keeps_schema is not None:
                how = "with their JSON schema, which it keeps to" if dialect.keeps_schema else "by the prompt alone"
                self.servers.say(server, f"verdicts are asked for {how}")

    @property
    def _probe_tokens(self) -> int:
        return min(_PROBE_TOKENS, self.settings.max_completion_tokens)

    def _learn(self, server: Server, body: dict[str, Any], error: StatusError) -> bool:
        """Learn from a refusal how to ask otherwise; tell whether there was anything to learn."""
        learnt = server.dialect.learn(body, str(error), error.named)
        if learnt is not None:
            self.servers.say(server, f"{learnt} (got {error.status}: {str(error)[:200]!r})")
        return learnt is not None

    def _judge_status(self, job: Job, server: Server, error: StatusError, attempt: int, body: dict[str, Any]) -> Reply:
        """Turn an error status into a refusal, an AttemptError or a TeacherError."""
        status, said = error.status, str(error)[:200]
        refuses_schema = "response_format" in body and status in _SCHEMA_STATUSES
        if status in _PARAMETER_STATUSES or refuses_schema:
            # another request may have learnt it while this one was under way
            is_old = server.dialect.spell(request_body(self.settings, job.request), job.request.schema) != body
            if is_old or self._learn(server, body, error):
                raise AttemptError("spelled in another way", is_free=True) from None
        variable, key = self.settings.api_key_env, self.settings.key
        key_cure = f"set {variable} to a valid key" if variable else f"name the key's variable in {key}.api_key_env"
        cures = {
            401: key_cure,
            402: "top up the account",
            403: key_cure,
            404: f"check {key}.base_url and {self.settings.model_key} ({self.settings.model})",
        }
        # some servers have no 404 for a model that they do not have
        cure = cures.get(404 if status == 400 and _NO_MODEL.search(said) else status)
        if cure is not None:
            tries = _count(attempt, "attempt")
            raise TeacherError(f"{key} {server.url}: {status} after {tries} (got {said!r}); {cure}") from None
        if status in _RETRIED_STATUSES or status >= 500:
            is_overload, is_outage = status == 429 or status >= 500, status in _AWAY_STATUSES
            # it says itself that it will be there
            server.dialect.has_answered |= is_outage and "loading" in said.lower()
            raise AttemptError(
                f"{status} ({said})", wait_seconds=error.wait_seconds, overloaded=is_overload, is_outage=is_outage
            ) from None
        return Reply(
            key=job.key,
            kind=job.request.kind,
            label=job.request.label,
            text=f"{status}: {said}",
            finish_reason="refused",
            model=self.settings.model,
            prompt_tokens=None,
            completion_tokens=None,
            endpoint=self.settings.key,
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
