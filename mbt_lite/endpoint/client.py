"""The client of OpenAI-compatible endpoints: bounded concurrency, retries, every reply on disk before it is done.

Source: the chat-completions schema, through the official `openai` async client. Where we use it our own way:

1. its retries are off: ours honour `Retry-After` and know which errors no retry can cure;
2. bodies go through its `post`: its typed `create` costs a third of a request's time on checks that ours has passed;
3. replies are read from the body (see reading.py): what is no completion counts as failed, not as empty;
4. a loopback server is never reached through a proxy.

What becomes of a request::

    reply                                    journaled, synced together with others, then reported to `on_reply`
    401 402 403 404, nothing ever listened   nothing new is sent, what is under way is kept, then TeacherError
    it had answered, and is away             waited for with growing pauses, ten minutes; then as 401
    400 that names a parameter               sent again without it, as every request from then on (see dialect.py)
    other 4xx                                a Reply with finish_reason "refused", not journaled; the rest go on
    429, 5xx, time-out, broken, huge reply   tried `attempts` times, at a lower pace; the rest go on, then TeacherError
    budget could be exceeded                 as 401: nothing new is sent
    twenty replies in a row of no use        as 401
    Ctrl-C, SIGTERM                          as 401, then KeyboardInterrupt; a second one stops at once
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mbt_lite.endpoint.dialect import Dialect
from mbt_lite.endpoint.post import capped
from mbt_lite.endpoint.reading import WhyUseless, why_useless
from mbt_lite.endpoint.replies import Reply, ReplyJournal, TeacherRequest, request_key
from mbt_lite.endpoint.servers import Server, Servers
from mbt_lite.endpoint.session import Job, Session
from mbt_lite.errors import TeacherError
from mbt_lite.recipe.endpoint import Speaker, fits_header
from mbt_lite.screen import say

if TYPE_CHECKING:
    import openai

Dialects = dict[tuple[str, str], Dialect]

LOOPBACK = ("127.0.0.1", "localhost", "::1")

# A streamed token may come as a chunk of half a kilobyte; whatever a server sends beside is far below a mebibyte.
_MOST_BYTES_PER_TOKEN, _MOST_BYTES_BESIDE = 1024, 2**20
_CONNECT_SECONDS = 10.0


def _print_line(line: str) -> None:
    say(line, error=True)


def complete(
    requests: Sequence[TeacherRequest],
    settings: Speaker,
    base_url: str | Sequence[str],
    journal: ReplyJournal,
    *,
    on_reply: Callable[[Reply], None] = lambda reply: None,
    useless: WhyUseless = why_useless,
    say: Callable[[str], None] = _print_line,
    backoff_seconds: float = 1.0,
    dialects: Dialects | None = None,
) -> dict[str, Reply]:
    """Give the reply of every request, by its label; journaled ones are not sent again, equal ones are sent once.

    `base_url` is one server or several that share the work. `dialects` remembers what was learnt of each for the next
    call, by URL and model. `on_reply` is called for each new reply after it is on disk; `say` gets lines about what was
    learnt of a server. `useless` says why a reply is of no use, None if it is of use: many such in a row end it all.
    Waits between attempts start at `backoff_seconds` and double. Raises TeacherError when no server can be used, when
    the budget could be exceeded, or when requests are left without a reply at the end; KeyboardInterrupt when
    interrupted by Ctrl-C or SIGTERM. All replies are kept then.
    """
    keys = {request.label: request_key(settings, request) for request in requests}
    assert len(keys) == len(requests), "labels name requests: they must differ"
    missing: dict[str, Job] = {}
    for request in requests:
        key = keys[request.label]
        if key not in journal.replies:
            missing.setdefault(key, Job(key, request))
    urls = [base_url] if isinstance(base_url, str) else list(base_url)
    learnt: Dialects = {} if dialects is None else dialects

    async def ask() -> dict[str, Reply]:
        async with contextlib.AsyncExitStack() as stack:
            servers = [
                Server(
                    url,
                    await stack.enter_async_context(_open_client(settings, url)),
                    learnt.setdefault((url, settings.model), Dialect()),
                    settings.concurrency,
                    has_key=settings.api_key_env is not None,
                )
                for url in urls
            ]
            session = Session(
                Servers(servers, settings.key, say), settings, journal, on_reply, useless, backoff_seconds
            )
            with _stopping_at_signals(session, say):
                return await session.ask_all(list(missing.values()))

    refused = asyncio.run(ask()) if missing else {}
    return {label: refused[key] if key in refused else journal.replies[key] for label, key in keys.items()}


@contextlib.contextmanager
def _stopping_at_signals(session: Session, say: Callable[[str], None]) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM stop the session softly, and a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    is_second = False

    def stop() -> None:
        nonlocal is_second
        session.stop(KeyboardInterrupt())
        if is_second:
            task.cancel()
        else:
            say(f"stopping: {session.count_under_way()} requests under way are finished and kept; once more: at once")
        is_second = True

    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}
    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield
    except asyncio.CancelledError:
        if is_second:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            # None: installed by something that is not Python, and cannot be put back
            if handler is not None:
                signal.signal(number, handler)


def _open_client(settings: Speaker, base_url: str) -> openai.AsyncOpenAI:
    import openai

    host = urlsplit(base_url).hostname
    if urlsplit(base_url).scheme not in ("http", "https") or host is None:
        raise TeacherError(
            f"{settings.key} {base_url}: not a URL; set {settings.key}.base_url to one such as http://localhost:8000/v1"
        )
    # The type comes from its default: the SDK has changed its HTTP library before.
    limits = type(openai.DEFAULT_CONNECTION_LIMITS)(
        max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency
    )
    timeout = openai.Timeout(settings.timeout_seconds, connect=min(_CONNECT_SECONDS, settings.timeout_seconds))
    http_client = openai.DefaultAsyncHttpxClient(
        trust_env=host not in LOOPBACK,
        timeout=timeout,
        limits=limits,
        event_hooks={"response": [capped(_MOST_BYTES_PER_TOKEN * settings.max_completion_tokens + _MOST_BYTES_BESIDE)]},
    )
    return openai.AsyncOpenAI(
        base_url=base_url,
        api_key=_read_key(settings, base_url),
        max_retries=0,
        timeout=timeout,
        http_client=http_client,
    )


def _read_key(settings: Speaker, base_url: str) -> str:
    """Read the key from the variable that the recipe names; servers without keys get a placeholder."""
    if settings.api_key_env is None:
        return "none"
    key = os.environ.get(settings.api_key_env)
    if not key:
        raise TeacherError(f"{settings.key} {base_url}: no key; set the environment variable {settings.api_key_env}")
    if not fits_header(key):
        raise TeacherError(
            f"{settings.key} {base_url}: the key in {settings.api_key_env} cannot stand in a header; "
            "set it again, without line breaks, outer spaces and accents"
        )
    return key
