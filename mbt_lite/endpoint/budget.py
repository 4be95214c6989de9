"""What an endpoint costs: the account of what was spent, the budget that is never exceeded, the estimate beforehand.

Spent is what the journal holds of its replies. A request is sent only if the budget would hold even if it, and all that
are under way, cost the most they can: `max_completion_tokens`, and a token for every two bytes of the prompt. What this
leaves out: attempts that failed half way may be charged by an endpoint, but no one tells how much.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from mbt_lite.endpoint.replies import CHARACTERS_PER_TOKEN, Reply, TeacherRequest, price, request_key, tokens_of
from mbt_lite.recipe.endpoint import Speaker
from mbt_lite.records import Message

# English has four or more bytes a token, Chinese about two: what a prompt may cost at most, but for odd symbols.
_FEWEST_BYTES_PER_TOKEN = 2
# What a chat template puts around a message.
_TOKENS_AROUND_MESSAGE = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """Tokens, and dollars where the recipe has prices (0 otherwise)."""

    tokens: int = 0
    usd: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.tokens + other.tokens, self.usd + other.usd)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.tokens - other.tokens, self.usd - other.usd)


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """What requests may need, at four characters a token and completions of full length; `usd` is None without prices.

    Full length is the upper end: most completions stop before it.
    """

    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None

    @property
    def words(self) -> str:
        """The estimate for people."""
        dollars = "no prices in the recipe" if self.usd is None else f"at most {self.usd:.2f} USD"
        most = f"at most {self.completion_tokens:,} completion tokens ({dollars})"
        return f"about {self.prompt_tokens:,} prompt tokens, {most}"


def estimate(requests: Iterable[TeacherRequest], settings: Speaker) -> Estimate:
    """Estimate what requests need if none of them is journaled; equal ones are sent and counted once."""
    different = {request_key(settings, request): request for request in requests}.values()
    prompt_tokens = sum(estimate_prompt_tokens(request.messages) for request in different)
    completion_tokens = settings.max_completion_tokens * len(different)
    return Estimate(len(different), prompt_tokens, completion_tokens, price(settings, prompt_tokens, completion_tokens))


def estimate_prompt_tokens(messages: Iterable[Message]) -> int:
    """Give about how many tokens messages have."""
    return sum(
        math.ceil(len(message["content"]) / CHARACTERS_PER_TOKEN) + _TOKENS_AROUND_MESSAGE for message in messages
    )


def most_prompt_tokens(messages: Iterable[Message]) -> int:
    """Give the most tokens that messages are taken for."""
    return sum(
        math.ceil(len(message["content"].encode()) / _FEWEST_BYTES_PER_TOKEN) + _TOKENS_AROUND_MESSAGE
        for message in messages
    )


class Budget:
    """What a run has spent and may still spend; `reserved` is the most that requests under way can cost."""

    def __init__(self, settings: Speaker, replies: Iterable[Reply]) -> None:
        self.settings = settings
        self.is_limited = settings.budget_usd is not None or settings.budget_tokens is not None
        # who was asked in an old journal is not known: that counts for every one
        ours = [reply for reply in replies if reply.endpoint in (settings.key, None)] if self.is_limited else []
        self.spent = sum((self._cost(*tokens_of(reply)) for reply in ours), Cost())
        self.reserved = Cost()
        self.under_way = 0

    def most(self, request: TeacherRequest) -> Cost:
        """Give the most that a request can cost."""
        if not self.is_limited:
            return Cost()
        return self._cost(most_prompt_tokens(request.messages), self.settings.max_completion_tokens)

    def exceeded_by(self, more: Cost) -> str | None:
        """Name the limit that could be exceeded with `more` reserved, with what is spent; None if none could."""
        total = self.spent + self.reserved + more
        tokens, usd = self.settings.budget_tokens, self.settings.budget_usd
        if tokens is not None and total.tokens > tokens:
            return f"{self.spent.tokens} of {tokens} tokens are spent, the next request may need {more.tokens}" + (
                f"; raise {self.settings.key}.budget_tokens"
            )
        if usd is not None and total.usd > usd:
            return f"{self.spent.usd:.4f} of {usd:g} USD are spent, the next request may cost {more.usd:.4f}" + (
                f"; raise {self.settings.key}.budget_usd"
            )
        return None

    def reserve(self, cost: Cost) -> None:
        """Set `cost` aside for a request that is about to be sent."""
        self.reserved += cost
        self.under_way += 1

    def settle(self, cost: Cost, reply: Reply | None) -> None:
        """Give back what was set aside for a request; its reply, if it has one that is journaled, is spent."""
        self.reserved -= cost
        self.under_way -= 1
        if reply is not None and self.is_limited:
            self.spent += self._cost(*tokens_of(reply))

    def _cost(self, prompt_tokens: int, completion_tokens: int) -> Cost:
        usd = price(self.settings, prompt_tokens, completion_tokens)
        return Cost(prompt_tokens + completion_tokens, usd if usd is not None else 0.0)
