"""What the scripted teacher writes without documents: the form alone, for it knows nothing that it could look up.

It names what the question gives, its numbers or names, and ends with the gold that it was told. That shows that the
loop works on such questions; a real teacher does the reasoning.
"""

from __future__ import annotations

import random
from typing import Final

from mbt_lite import prompts
from mbt_lite.scripted.monologue import is_idea, read_claim
from mbt_lite.text.names import fold, read_names
from mbt_lite.text.numbers import NUMBER
from mbt_lite.text.phases import LABELS

_GIVEN_AT_MOST = 3
_ASKED: Final = ("We note what is given: {given}.", "What the question gives is {given}.")
_PLAN: Final = ("We take it one step at a time.", "The plan is to go step by step from what is given.")
_STEP: Final = ("From {first} we come to the result, and that step holds.", "Starting at {first}, each step follows.")
_WRONG: Final = ("Wait, is it {wrong}? No, the steps do not lead there.", "Hold on, not {wrong}: that was too quick.")
_DOUBT: Final = ("Wait, did we skip a step? No, we go over it again and it holds.",)
_CHECK: Final = ("We check: this fits the question.", "To verify: every condition is met.")
_CONCLUDE: Final = "So the answer is {gold}."
_GUESS: Final = "Nothing here settles it, so the answer is a guess: {answer}."
_GUIDE: Final = (
    "Key facts: {given}.\n\nSteps: go from {first} to what is asked, one step at a time.\n\nPitfalls: stopping early."
)


def write(task: str, question: str, gold: str, draft: str | None, dice: random.Random) -> str:
    """Write the reply to a request about a question without documents."""
    given = given_in(question)
    if task == "student":
        return prompts.completion_text(_GUESS.format(answer=given[-1]), given[-1])
    if task == "solution":
        return _GUIDE.format(given=", ".join(given), first=given[0])
    conclusion = _CONCLUDE.format(gold=gold.rstrip("."))
    if task == "distill_r":
        return f"{_STEP[1].format(first=given[0])}\n\n{conclusion}"
    claim = None if draft is None else read_claim(draft, question)
    is_wrong = claim is not None and is_idea(claim) and fold(claim) != fold(gold)
    phases = (
        dice.choice(_ASKED).format(given=", ".join(given)),
        dice.choice(_PLAN),
        dice.choice(_STEP).format(first=given[0]),
        dice.choice(_WRONG).format(wrong=claim) if is_wrong else dice.choice(_DOUBT),
        f"{dice.choice(_CHECK)} {conclusion}",
    )
    return "\n\n".join(f"[{label}]\n{words}" for label, words in zip(LABELS.values(), phases, strict=True))


def given_in(question: str) -> list[str]:
    """Give the first few numbers of a question, else its names, else its first words; at least one.

    >>> given_in("Natalia sold 48 clips in April, half as many in May. How many in all?")
    ['48']
    """
    numbers = [found[0].strip() for found in NUMBER.finditer(question) if found["whole"] or found["rest"]]
    found = list(dict.fromkeys(numbers or read_names(question)))[:_GIVEN_AT_MOST]
    return found or [" ".join(question.rstrip("?").split()[:5])]
