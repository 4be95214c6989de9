"""Plays a strategy for all questions at once: every round is one batch, whoever completes it.

A question that is to have several answers is played several times. Calls of one question that are equal within a round
are one prompt with more samples, so that its prefix is computed once.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, Protocol

from mbt_lite.records import Completion, Message, Question
from mbt_lite.strategies.strategy import Call, Outcome, Rounds, Settings, Strategy

# question id and index of the answer
Key = tuple[str, int]


class Place(NamedTuple):
    """Where a completion belongs."""

    question_id: str
    rollout_index: int
    round: int = 0
    call: int = 0
    sample: int = 0

    @property
    def key(self) -> Key:
        """Name the answer that it is for."""
        return self.question_id, self.rollout_index


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt of a round; its samples go to `places`, `n_earlier` were drawn from it in the rounds before."""

    messages: tuple[Message, ...]
    temperature: float
    max_completion_tokens: int
    places: tuple[Place, ...]
    n_earlier: int


@dataclasses.dataclass(frozen=True, slots=True)
class Answered:
    """The completions of a round, and why those are missing that were refused."""

    completions: Mapping[Place, Completion]
    refused: Mapping[Place, str] = dataclasses.field(default_factory=dict)


class Answers(Protocol):
    """Who completes rounds: the student in this process, or an endpoint that serves it."""

    def __call__(self, number: int, prompts: Sequence[Prompt]) -> Answered:
        """Complete the prompts of round `number`, from 0; what is in a journal is not made again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Played:
    """The answers, with the tokens of all their calls, and how those ended that there are not."""

    completions: dict[Key, Completion]
    refused: dict[Key, str]


def play(
    strategy: Strategy, questions: Sequence[Question], settings: Settings, samples: int, answers: Answers
) -> Played:
    """Answer each question `samples` times."""
    played, asked = Played({}, {}), collections.Counter[Hashable]()
    games, number = _start(strategy, questions, settings, samples, played), 0
    while games:
        answered = answers(number, _prompts(number, games, asked))
        played.refused.update({place.key: why for place, why in answered.refused.items()})
        left = [game for game in games if game.key not in played.refused]
        games = [game for game in left if game.goes_on(game.pick(number, answered.completions), played)]
        number += 1
    return played


def first_prompts(strategy: Strategy, questions: Sequence[Question], settings: Settings, samples: int) -> list[Prompt]:
    """Give what is asked in the first round, the only one that is known before."""
    return _prompts(0, _start(strategy, questions, settings, samples, Played({}, {})), collections.Counter())


def _start(
    strategy: Strategy, questions: Sequence[Question], settings: Settings, samples: int, played: Played
) -> list[_Game]:
    """Begin a game for each answer; those that end without a call are played already."""
    games = (
        _Game((question.question_id, index), strategy.start(question, settings))
        for question in questions
        for index in range(samples)
    )
    return [game for game in games if game.goes_on(None, played)]


@dataclasses.dataclass(slots=True)
class _Game:
    """One answer in the making, and what its calls have cost."""

    key: Key
    rounds: Rounds
    calls: list[Call] = dataclasses.field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def places(self, number: int, call: int) -> list[Place]:
        """Name the places of the samples of a call."""
        return [Place(*self.key, number, call, sample) for sample in range(self.calls[call].samples)]

    def pick(self, number: int, completions: Mapping[Place, Completion]) -> list[list[Completion]]:
        """Take what was completed for each call, and count it."""
        picked = [[completions[place] for place in self.places(number, call)] for call in range(len(self.calls))]
        self.prompt_tokens += sum(one.prompt_tokens for made in picked for one in made)
        self.completion_tokens += sum(one.completion_tokens for made in picked for one in made)
        return picked

    def goes_on(self, sent: list[list[Completion]] | None, played: Played) -> bool:
        """Tell the strategy what was completed, nothing at first; False if that ends the game."""
        try:
            self.calls = next(self.rounds) if sent is None else self.rounds.send(sent)
        except StopIteration as end:
            outcome: Outcome = end.value
            tokens = self.prompt_tokens, self.completion_tokens
            played.completions[self.key] = Completion(*self.key, outcome.text, outcome.finish_reason, *tokens)
            return False
        return True


def _prompts(number: int, games: Sequence[_Game], asked: collections.Counter[Hashable]) -> list[Prompt]:
    """Join the equal calls of a question, and count their samples as asked."""
    joined: dict[Hashable, tuple[Call, list[Place]]] = {}
    for game in games:
        for index, call in enumerate(game.calls):
            said = tuple((message["role"], message["content"]) for message in call.messages)
            same = (game.key[0], said, call.temperature, call.max_completion_tokens)
            joined.setdefault(same, (call, []))[1].extend(game.places(number, index))
    prompts = [
        Prompt(call.messages, call.temperature, call.max_completion_tokens, tuple(places), asked[same])
        for same, (call, places) in joined.items()
    ]
    asked.update({same: len(places) for same, (_, places) in joined.items()})
    return prompts
