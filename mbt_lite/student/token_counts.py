"""How a student counts tokens and begins its turn, without its tokenizer at hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from mbt_lite.records import Message


@dataclasses.dataclass(frozen=True, slots=True)
class TokenCounts:
    """The tokens of a prompt with the template's opening of the next turn, and of a text; hash of the template.

    `prefills_think`: the template opens the trace itself. `controls` names the control tokens that a text becomes.
    """

    prompt: Callable[[Sequence[Message]], int]
    text: Callable[[str], int]
    prefills_think: bool
    chat_template: str
    controls: Callable[[str], list[str]]

    def row(self, prompt: Sequence[Message], completion: str) -> int:
        """Count the tokens of a training row: prompt, completion, end of turn."""
        return self.prompt(prompt) + self.text(completion) + 1
