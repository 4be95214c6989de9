"""Completions of a given length for `bench reward`: traces over the synthetic questions, some right, wrong or cut off.

They read like a long trace, not like a good one: sentences of the question's documents, names of its golds and what an
inner monologue says in between, drawn at random and with repetitions. All of it is ASCII.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from typing import Any

from mbt_lite.data.synthetic import FILES, generate_questions
from mbt_lite.records import Question

_MUSINGS = (
    "What is being asked is a single name, so we set aside what only looks relevant.",
    "First we need the link between the two; once we know it, the rest is easy.",
    "So far, so good: we read that in the documents, and this step holds.",
    "Wait, are we mixing up two people? Let's look again, more slowly this time.",
    "Hmm, that doesn't help us much, and it isn't what the question's about.",
    "Let us check: every condition is met, and the evidence names just this one.",
    "It could be otherwise (there's another of that name), but nothing says so...",
)
_KINDS = ("right", "wrong", "right", "cut off", "right", "wrong", "right", "right")


@dataclasses.dataclass(frozen=True, slots=True)
class Completions:
    """B = P·G rows: token ids with the stop token where it was reached, and the golds of each."""

    ids: list[list[int]]
    golds: list[tuple[str, ...]]
    stop_id: int


def make_completions(tokenizer: Any, prompts: int, group_size: int, tokens: int, seed: int = 0) -> Completions:
    """Make completions of exactly `tokens` tokens each, groups of one question in a row."""
    questions = generate_questions(FILES[-1])[:prompts]
    assert len(questions) == prompts, f"there are {len(questions)} questions (asked for {prompts})"
    stop_id = int(tokenizer.eos_token_id)
    dice = random.Random(seed)
    ids, golds = [], []
    for index, question in enumerate(questions):
        other = questions[(index + 1) % prompts].answer
        for row in range(group_size):
            ids.append(_completion(tokenizer, question, other, _KINDS[row % len(_KINDS)], tokens, stop_id, dice))
            golds.append(question.golds)
    return Completions(ids, golds, stop_id)


def _completion(
    tokenizer: Any, question: Question, other: str, kind: str, tokens: int, stop_id: int, dice: random.Random
) -> list[int]:
    sentences = _sentences(question, dice)
    # A token holds at least a character or so: four to five are usual, and the surplus is cut off.
    text = "<think>\n"
    while len(text) < 8 * tokens:
        text += next(sentences) + ("\n\n" if dice.random() < 0.2 else " ")
    trace = tokenizer.encode(text, add_special_tokens=False)
    if kind == "cut off":
        return list(trace[:tokens])
    answer = question.answer if kind == "right" else other
    ending = tokenizer.encode(f"\n</think>\n\n<answer>{answer}</answer>", add_special_tokens=False)
    return [*trace[: tokens - len(ending) - 1], *ending, stop_id]


def _sentences(question: Question, dice: random.Random) -> Iterator[str]:
    read = [f"According to document {number}: {found.text}" for number, found in enumerate(question.documents, 1)]
    told = [f"So the answer may be {gold}, if that follows." for gold in question.golds]
    while True:
        yield dice.choice(dice.choice((read, read, told, _MUSINGS)))
