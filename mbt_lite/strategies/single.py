"""The plain way: ask once, take what comes."""

from __future__ import annotations

from mbt_lite.records import Question
from mbt_lite.strategies.strategy import Call, Outcome, Rounds, Settings, Strategy


def single(question: Question, settings: Settings) -> Rounds:
    """Ask for one completion."""
    call = Call(settings.messages(question), settings.temperature, settings.max_completion_tokens)
    [[completion]] = yield [call]
    return Outcome(completion.text, completion.finish_reason)


STRATEGY = Strategy(single, is_one_call=True)
