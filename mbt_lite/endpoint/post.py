"""One body to one server, and what can come of it: a text, an error status, or an attempt that failed otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from mbt_lite.endpoint.servers import Server

# Placeholders for keys, such as EMPTY, are words that a reply may hold; keys are longer.
_SHORTEST_SECRET = 16
_MOST_ERROR_CHARACTERS = 10_000


class AttemptError(Exception):
    """One attempt failed in a way that another may cure; a free one does not count against `attempts`."""

    def __init__(
        self,
        problem: str,
        *,
        wait_seconds: float | None = None,
        connected: bool = True,
        overloaded: bool = False,
        is_free: bool = False,
        is_outage: bool = False,
    ) -> None:
        super().__init__(problem)
        self.wait_seconds = wait_seconds
        self.connected = connected
        self.overloaded = overloaded
        self.is_free = is_free
        # the server may be away as a whole: it is restarting, or loading its model
        self.is_outage = is_outage or not connected


class StatusError(Exception):
    """A server answered with an error status; `str()` is what it said, `named` the parameter it blames."""

    def __init__(self, status: int, said: str, named: str | None = None, wait_seconds: float | None = None) -> None:
        super().__init__(said)
        self.status = status
        self.named = named
        self.wait_seconds = wait_seconds


class HugeReplyError(Exception):
    """A reply longer than what was asked for can be: not read to its end."""


async def post(server: Server, body: dict[str, Any], timeout_seconds: float) -> str:
    """Send a body; give what came back with status 200, without the key. Raises StatusError or AttemptError."""
    import openai

    try:
        async with asyncio.timeout(timeout_seconds):
            text = await server.client.post("/chat/completions", body=body, cast_to=str)
    except openai.APIStatusError as error:
        said = " ".join(hide_key(_error_text(error.body), server).split())
        raise StatusError(error.status_code, said, error.param, _retry_after(error.response.headers)) from None
    except HugeReplyError as error:
        raise AttemptError(str(error)) from None
    except (TimeoutError, openai.APIConnectionError) as error:
        # The SDK has changed its HTTP library before; the names of these classes have stayed.
        if type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout"):
            raise AttemptError("cannot connect", connected=False) from None
        if isinstance(error, TimeoutError | openai.APITimeoutError):
            raise AttemptError(f"no reply within {timeout_seconds:g} s", overloaded=True) from None
        raise AttemptError(f"connection lost ({type(error.__cause__).__name__})") from None
    return hide_secret(text, server)


def capped(most_bytes: int) -> Callable[[Any], Awaitable[None]]:
    """Give the client's hook that breaks a reply off, error or not, once it is longer than so many bytes."""

    async def cap(response: Any) -> None:
        whole = response.stream

        # the HTTP library, whichever it is, takes streams of its own classes only
        class Capped(type(whole)):  # type: ignore[misc]
            def __init__(self) -> None:
                self.n_bytes = 0

            async def __aiter__(self) -> AsyncIterator[bytes]:
                async for piece in whole:
                    self.n_bytes += len(piece)
                    if self.n_bytes > most_bytes:
                        raise HugeReplyError(f"reply is far longer than was asked for (over {most_bytes} bytes)")
                    yield piece

            async def aclose(self) -> None:
                await whole.aclose()

        response.stream = Capped()

    return cap


def hide_key(said: str, server: Server) -> str:
    """Blot the key out of what a server said: some repeat it in their errors."""
    return said.replace(server.client.api_key, "***") if server.has_key else said


def hide_secret(said: str, server: Server) -> str:
    """Blot the key out of a reply, but for a placeholder, which may be a word of it."""
    return hide_key(said, server) if len(server.client.api_key) >= _SHORTEST_SECRET else said


def _error_text(body: Any) -> str:
    """Give what an error body says: its message, or the body as it is, but for what no one would read."""
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        return str(body["message"])[:_MOST_ERROR_CHARACTERS]
    return str(body)[:_MOST_ERROR_CHARACTERS] if body is not None else ""


def _retry_after(headers: Any) -> float | None:
    """Read `Retry-After`: seconds or an HTTP date; None where it is missing or neither."""
    value = headers.get("retry-after")
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(value))
    # dates of years that there are not
    with contextlib.suppress(ValueError, OverflowError):
        parsed = email.utils.parsedate_tz(value)
        return None if parsed is None else max(0.0, email.utils.mktime_tz(parsed) - time.time())
    return None
