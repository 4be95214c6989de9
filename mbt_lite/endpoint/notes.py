"""What servers gave away about themselves in their replies: for the report, whoever reads it later.

A line on the terminal is told once and gone. These notes follow from the journal, so that a run that asks for nothing
again has them too.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

from mbt_lite.endpoint.reading import is_cut_prompt, is_other_model, why_useless
from mbt_lite.endpoint.replies import Reply, TeacherRequest, request_key
from mbt_lite.recipe.endpoint import Speaker

# the path of an endpoint and the model that was asked for there
_Asked = tuple[str, str]


class Notes:
    """What is odd about the replies of a stage; each reply counts once, however often it was looked up."""

    def __init__(self) -> None:
        self._odd: dict[_Asked, dict[str, list[str]]] = {}

    def take(self, requests: Sequence[TeacherRequest], replies: Mapping[str, Reply], speaker: Speaker) -> None:
        """Note what is odd about the replies to these requests."""
        noted = self._odd.setdefault((speaker.key, speaker.model), {})
        for request in requests:
            if replies[request.label].finish_reason != "refused":
                noted[request_key(speaker, request)] = _odd(request, replies[request.label], speaker)

    def lines(self) -> dict[str, list[str]]:
        """Give a line for each kind of oddity, by the path of the endpoint; endpoints that are not odd have none."""
        told: dict[str, list[str]] = {}
        for (key, model), noted in self._odd.items():
            counts = collections.Counter(odd for found in noted.values() for odd in found)
            lines = [f"{n} of {len(noted)} replies of {model} {odd}" for odd, n in counts.most_common()]
            if lines:
                told.setdefault(key, []).extend(lines)
        return told


def _odd(request: TeacherRequest, reply: Reply, speaker: Speaker) -> list[str]:
    found = []
    if is_other_model(reply.model, speaker):
        found.append(f"are signed by another model, {reply.model!r}")
    if is_cut_prompt(reply.prompt_tokens, request):
        found.append("count less than half the prompt tokens that we estimate: the context may have been cut")
    useless = why_useless(reply, speaker)
    return found if useless is None else [*found, f"are of no use ({useless.cause})"]
