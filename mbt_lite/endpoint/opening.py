"""Opens the endpoints of a stage: one journal, one account, one function that asks, whoever is asked.

The scripted server is started when it is first asked. What was learnt of a server (its dialect) is remembered until the
endpoints are closed.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from mbt_lite.endpoint.again import SecondChance
from mbt_lite.endpoint.client import Dialects, complete
from mbt_lite.endpoint.notes import Notes
from mbt_lite.endpoint.reading import WhyUseless, why_useless
from mbt_lite.endpoint.replies import Reply, ReplyJournal, TeacherRequest, count_usage
from mbt_lite.files import write_json
from mbt_lite.recipe.endpoint import EMBEDDED, Endpoint, Speaker
from mbt_lite.scripted import server as scripted

Counting = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


class Ask(Protocol):
    """Who can be asked."""

    def __call__(
        self, requests: Sequence[TeacherRequest], what: str, settings: Speaker, useless: WhyUseless = why_useless
    ) -> dict[str, Reply]:
        """Send requests, or find their replies in the journal; give replies by label. `what` names them for people.

        `useless` says why a reply is of no use; many such in a row end it all. What failed before is no sign of a
        broken endpoint when it fails again: `of_use` takes all for useful.
        """


@contextlib.contextmanager
def open_endpoints(folder: Path, counting: Counting, *endpoints: Endpoint, prefix: str = "") -> Iterator[Ask]:
    """Lend the function that asks `endpoints`; replies are in `replies.jsonl` of the folder, the names with a prefix.

    At the end, also where it failed, `usage.json` has what was spent and `servers.json` what the servers gave away
    about themselves. `counting` makes the step of a progress bar. Asking raises what `complete` raises.
    """
    dialects: Dialects = {}
    embedded: list[str] = []
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(ReplyJournal(folder / f"{prefix}replies.jsonl"))
        notes, chance = Notes(), SecondChance(journal)

        def ask(
            requests: Sequence[TeacherRequest], what: str, settings: Speaker, useless: WhyUseless = why_useless
        ) -> dict[str, Reply]:
            if settings.base_url == EMBEDDED and not embedded:
                embedded.append(stack.enter_context(scripted.serve()))
            urls = embedded if settings.base_url == EMBEDDED else settings.urls
            send = functools.partial(complete, settings=settings, base_url=urls, journal=journal, dialects=dialects)
            chance.give(requests, settings, send)
            with counting(what, journal.count_missing(requests, settings)) as step:
                replies = send(requests, on_reply=lambda _: step(), useless=useless)
            notes.take(requests, replies, settings)
            return replies

        try:
            yield ask
        finally:
            write_json(folder / f"{prefix}usage.json", count_usage(journal.paid, *endpoints))
            write_json(folder / f"{prefix}servers.json", notes.lines())
