"""The servers of an endpoint: which one takes the next request, how many it takes at once, and which are put aside.

Each server has a limit of requests under way. It starts at the recipe's concurrency, is halved when the server says
that it is overloaded (429, 5xx, time-outs) and grows back by one for every round of replies, as TCP does (additive
increase, multiplicative decrease). Its `Retry-After` holds for all requests to it. With several servers, one that fails
again and again is put aside for a minute, as long as another is left.
"""

from __future__ import annotations

import asyncio
import collections
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mbt_lite.endpoint.dialect import Dialect

if TYPE_CHECKING:
    import openai

_ASIDE_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 15.0
# So many failed attempts in a row put a server aside if another works; one is enough where nothing listens.
_FAILURES_TO_PUT_ASIDE = 4


class Server:
    """One server: its client, its dialect, its pace."""

    def __init__(
        self, url: str, client: openai.AsyncOpenAI, dialect: Dialect, concurrency: int, *, has_key: bool
    ) -> None:
        self.url = url
        self.client = client
        self.dialect = dialect
        self.has_key = has_key
        self.probing = asyncio.Lock()
        self.concurrency = concurrency
        self.limit = float(concurrency)
        self.under_way = 0
        self.failures_in_a_row = 0
        self.resumes_at = 0.0
        self.slowed_at = 0.0
        self.down_since: float | None = None

    def note_success(self) -> None:
        """Let the limit grow by one for every round of replies."""
        self.failures_in_a_row = 0
        self.down_since = None
        self.dialect.has_answered = True
        self.limit = min(float(self.concurrency), self.limit + 1.0 / self.limit)

    def slow_down(self, sent_at: float) -> None:
        """Halve the limit, once for all requests that were under way together."""
        if sent_at >= self.slowed_at:
            self.slowed_at = time.monotonic()
            self.limit = max(1.0, self.limit / 2)

    def pause(self, seconds: float) -> None:
        """Send nothing to this server for some seconds."""
        self.resumes_at = max(self.resumes_at, time.monotonic() + seconds)

    def has_room(self, now: float) -> bool:
        """Tell whether another request may be sent now."""
        return self.under_way < math.floor(self.limit) and now >= self.resumes_at


class Servers:
    """All servers of a session; requests wait here until one has room, or until the session stops."""

    def __init__(self, servers: Sequence[Server], key: str, say: Callable[[str], None]) -> None:
        self.all = list(servers)
        self.key = key
        self._say = say
        self.is_closed = False
        self._aside: dict[Server, float] = {}
        self._told_aside: set[Server] = set()
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()

    def say(self, server: Server, line: str) -> None:
        """Tell something about a server."""
        self._say(f"{self.key} {server.url}: {line}")

    async def take(self) -> Server | None:
        """Wait for a server with room, the least busy first; None once the session has stopped."""
        while not self.is_closed:
            now = time.monotonic()
            ready = [server for server in self._in_use(now) if server.has_room(now)]
            if ready:
                server = min(ready, key=lambda one: one.under_way / one.limit)
                server.under_way += 1
                return server
            await self._wait(now)
        return None

    def give_back(self, server: Server) -> None:
        """Note that a request is no longer under way, and let waiting ones look again."""
        server.under_way -= 1
        self.wake()

    def wake(self) -> None:
        """Let those that wait look again whether there is room."""
        now = time.monotonic()
        room = sum(max(0, math.floor(one.limit) - one.under_way) for one in self._in_use(now))
        for _ in range(len(self._waiting) if self.is_closed else min(room, len(self._waiting))):
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """Let no further request through."""
        self.is_closed = True
        self.wake()

    def note_success(self, server: Server) -> None:
        """Note a reply, and tell it where one was waited for."""
        if server.down_since is not None:
            self.say(server, f"it is back after {time.monotonic() - server.down_since:.0f} s")
        self._told_aside.discard(server)
        server.note_success()

    def note_outage(self, server: Server, problem: str, patience_seconds: float) -> float:
        """Pause a server that has answered before and is away, longer each time; give for how long it has been away."""
        now = time.monotonic()
        if server.down_since is None:
            server.down_since = now
            self.say(server, f"{problem}; it is waited for, up to {patience_seconds:.0f} s")
        gone = now - server.down_since
        # as long again as it has been away: requests that fail together add nothing
        server.pause(min(_LONGEST_PAUSE_SECONDS, max(patience_seconds / 600.0, gone)))
        return gone

    def note_failure(self, server: Server, problem: str, *, connected: bool) -> bool:
        """Count a failed attempt; tell whether it put the server aside."""
        server.failures_in_a_row += 1
        now = time.monotonic()
        others = [one for one in self._in_use(now) if one is not server]
        if not others or (connected and server.failures_in_a_row < _FAILURES_TO_PUT_ASIDE):
            return False
        if server not in self._told_aside:
            self._told_aside.add(server)
            self.say(server, f"{problem}; put aside for {_ASIDE_SECONDS:.0f} s, the others go on")
        self._aside[server] = now + _ASIDE_SECONDS
        return True

    def _in_use(self, now: float) -> list[Server]:
        """Give the servers that are not put aside; the time of those that were may be over."""
        if self._aside:
            self._aside = {server: until for server, until in self._aside.items() if until > now}
        return [server for server in self.all if server not in self._aside]

    async def _wait(self, now: float) -> None:
        """Wait until woken, or until a pause is over."""
        until = [one.resumes_at for one in self.all if one.resumes_at > now] + list(self._aside.values())
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await asyncio.wait([waiter], timeout=min(until) - now + 0.001 if until else None)
        if not waiter.done():
            self._waiting.remove(waiter)
