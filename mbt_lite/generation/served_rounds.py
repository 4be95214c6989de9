"""Completes the rounds of a strategy at an endpoint that serves the student; its replies are in a journal of their own.

Where this differs from the student in this process: the n-th sample of a prompt has the n-th seed, whichever round it
is asked in, and a server may refuse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from mbt_lite.endpoint.opening import Ask
from mbt_lite.endpoint.replies import Reply, TeacherRequest
from mbt_lite.endpoint.served_student import read_completions
from mbt_lite.recipe.endpoint import Speaker
from mbt_lite.strategies.rounds import Answered, Place, Prompt
from mbt_lite.student.token_counts import TokenCounts


@dataclasses.dataclass
class ServedRounds:
    """The student behind an endpoint; `kind` is what its replies count as, `what` names the rounds for people."""

    ask: Ask
    student: Speaker
    counts: TokenCounts
    kind: str
    seed: int
    what: str
    prefills_think: bool
    replies: list[Reply] = dataclasses.field(default_factory=list)

    def __call__(self, number: int, prompts: Sequence[Prompt]) -> Answered:
        """Ask for what has no reply yet; keep the replies for who wants to see them."""
        requests = dict(requests_of(prompts, self.kind, self.seed))
        what = self.what if number == 0 else f"{self.what}, round {number + 1}"
        replies = self.ask(list(requests.values()), what, self.student)
        self.replies += replies.values()
        completions, refused = read_completions(
            requests, replies, self.counts.prompt, self.counts.text, prefilled_think=self.prefills_think
        )
        return Answered(completions, refused)


def requests_of(prompts: Sequence[Prompt], kind: str, seed: int) -> Iterator[tuple[Place, TeacherRequest]]:
    """Give the requests of a round, by the places of their completions."""
    for prompt in prompts:
        for index, place in enumerate(prompt.places, prompt.n_earlier):
            is_first = place == Place(*place.key)
            label = ":".join(map(str, place.key if is_first else place))
            yield place, TeacherRequest(kind, label, prompt.messages, seed + index, is_completion=True)
