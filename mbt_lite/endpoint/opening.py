"""Opens the endpoints of a stage: one journal, one account, one function that asks, whoever is asked.

The scripted server is started when it is first asked. What was learnt of a server (its dialect) is remembered until the
endpoints are closed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from mbt_lite.endpoint.client import Dialects, complete
from mbt_lite.endpoint.replies import Reply, ReplyJournal, TeacherRequest, count_usage
from mbt_lite.files import write_json
from mbt_lite.recipe.endpoint import EMBEDDED, Endpoint, Speaker
from mbt_lite.scripted import server as scripted

Counting = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


class Ask(Protocol):
    """Who can be asked."""

    def __call__(self, requests: Sequence[TeacherRequest], what: str, settings: Speaker) -> dict[str, Reply]:
        """Send requests, or find their replies in the journal; give replies by label. `what` names them for people."""


@contextlib.contextmanager
def open_endpoints(journal_file: Path, usage_file: Path, counting: Counting, *endpoints: Endpoint) -> Iterator[Ask]:
    """Lend the function that asks `endpoints`; what was spent is in `usage_file` at the end, also where it failed.

    `counting` makes the step of a progress bar. Asking raises what `complete` raises.
    """
    dialects: Dialects = {}
    embedded: list[str] = []
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(ReplyJournal(journal_file))

        def ask(requests: Sequence[TeacherRequest], what: str, settings: Speaker) -> dict[str, Reply]:
            if settings.base_url == EMBEDDED and not embedded:
                embedded.append(stack.enter_context(scripted.serve()))
            urls = embedded if settings.base_url == EMBEDDED else settings.urls
            with counting(what, journal.count_missing(requests, settings)) as step:
                return complete(requests, settings, urls, journal, on_reply=lambda _: step(), dialects=dialects)

        try:
            yield ask
        finally:
            write_json(usage_file, count_usage(journal.replies.values(), *endpoints))
