"""Replies that a server's settings spoiled in an earlier command: does it do better now?

A full context, reasoning that was kept back or filled the whole reply: such replies were paid for and stay in the
journal, but the server may have been mended since. One is asked for again, the one with the longest prompt; only if it
comes out whole are the others, too. Where the server cannot be asked, all stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mbt_lite.endpoint.reading import why_useless
from mbt_lite.endpoint.replies import Reply, ReplyJournal, TeacherRequest, request_key
from mbt_lite.errors import TeacherError
from mbt_lite.recipe.endpoint import Speaker
from mbt_lite.screen import say

# Endings such as content_filter are the request's own.
_BY_SETTINGS = ("context full", "hidden reasoning", "empty")


class SecondChance:
    """Looks for spoiled replies among those that were journaled before this command."""

    def __init__(self, journal: ReplyJournal) -> None:
        self.journal = journal
        self._old = set(journal.replies)

    def give(
        self, requests: Sequence[TeacherRequest], speaker: Speaker, ask: Callable[[list[TeacherRequest]], object]
    ) -> None:
        """Take spoiled replies to these requests out of those that count, if one of them turns out well at `ask`."""
        spoiled = [request for request in requests if self._is_spoiled(request, speaker)]
        self._old -= {request_key(speaker, request) for request in spoiled}
        if not spoiled:
            return
        longest = max(spoiled, key=lambda request: sum(len(message["content"]) for message in request.messages))
        before = self._forget(longest, speaker)
        try:
            ask([longest])
            outcome = "it is so again: the others stay as they are"
        except TeacherError as error:
            outcome = f"the server cannot be asked ({error}): all stay as they are"
        after = self.journal.replies.setdefault(before.key, before)
        if why_useless(after, speaker) is None:
            outcome = "it came out whole: the others are asked for again"
            for request in spoiled:
                if request is not longest:
                    self._forget(request, speaker)
        cause = why_useless(before, speaker)
        assert cause is not None, before
        say(f"{speaker.key}: {len(spoiled)} replies were spoiled before ({cause.cause}); {outcome}", error=True)

    def _is_spoiled(self, request: TeacherRequest, speaker: Speaker) -> bool:
        reply = self.journal.replies.get(request_key(speaker, request))
        useless = why_useless(reply, speaker) if reply is not None and reply.key in self._old else None
        return useless is not None and useless.cause in _BY_SETTINGS

    def _forget(self, request: TeacherRequest, speaker: Speaker) -> Reply:
        return self.journal.replies.pop(request_key(speaker, request))
