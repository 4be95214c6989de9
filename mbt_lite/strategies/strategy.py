"""What a strategy is: a generator that yields the calls of a round, is sent their completions, returns its outcome.

::

    def plan_then_solve(question, settings):
        [[plan]] = yield [Call(plan_messages(question), settings.temperature, 96)]
        [[answer]] = yield [Call(solve_messages(question, plan.text), settings.temperature, 2048)]
        return Outcome(answer.text, answer.finish_reason)

It must ask the same again when it is sent the same: a run that goes on after a stop is sent what was answered before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator

from mbt_lite.records import Completion, FinishReason, Message, Question


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One prompt of a round, to be completed `samples` times, each within so many tokens."""

    messages: tuple[Message, ...]
    temperature: float
    max_completion_tokens: int
    samples: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a strategy answers: trace and answer as one completion would hold them; without an answer it abstains."""

    text: str
    finish_reason: FinishReason


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What a strategy is told: how the student is asked directly, how it samples, how long it may answer."""

    messages: Callable[[Question], tuple[Message, ...]]
    temperature: float
    max_completion_tokens: int


Rounds = Generator[list[Call], list[list[Completion]], Outcome]


@dataclasses.dataclass(frozen=True, slots=True)
class Strategy:
    """One way to answer. `is_one_call`: it makes one call of one sample, whose completion is its outcome."""

    start: Callable[[Question, Settings], Rounds]
    is_one_call: bool = False
