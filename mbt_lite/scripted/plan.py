"""The scripted teacher's plans: a question's nested nouns, innermost first; of two compared things both sides.

It reads the question alone, so it cannot say what the documents say. A question in which it finds no nesting gets two
steps of the most general kind, the second of which is the question itself.
"""

from __future__ import annotations

import re
import string

from mbt_lite.text.names import NAME, OPENERS, read_names

# "the mayor of Lindale", "the school attended by A": one relation of something named
_NOUN = re.compile(
    rf"\bthe (?:(?!the\b)[a-z'’-]+ ){{1,5}}?(?:of|by|for|from|in|at) (?:{NAME.pattern})(?<!['’]s)(?![\w'’])"
)
_COMPARED = re.compile(
    r"(?:Who|(?:Which|What) [a-z]+) (?P<verb>[a-z]+(?: [a-z]+)?) (?P<way>first|last|earlier|later), "
    r"(?P<first>.+?),? or (?P<second>.+?)\?*"
)
_POSSESSIVE = re.compile(r"['’]s$")
# what asks for the thing itself: "Who is the mayor of A?"
_IS = re.compile(r"(?:who|what|which [a-z]+|where) (?:is|was|are|were) (?P<what>[A-Z]|the .+)")


class _Plan:
    """Lines, each with the next letter."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def add(self, what: str) -> str:
        self.steps.append(what)
        return string.ascii_uppercase[len(self.steps) - 1]

    def unfold(self, text: str) -> str:
        """Take the nested nouns of a text, innermost first; give it with letters in their place."""
        while noun := _NOUN.search(text):
            text = f"{text[: noun.start()]}{self.add(noun[0])}{text[noun.end() :]}"
        return text


def write_plan(question: str) -> str:
    """Write a plan for a question, by rule.

    >>> print(write_plan("Who is the mayor of the birthplace of Ann Lee?"))
    Step 1: the birthplace of Ann Lee -> A
    Step 2: the mayor of A -> answer
    """
    plan, compared = _Plan(), _COMPARED.fullmatch(question.strip())
    if compared is not None:
        sides = []
        for side in (compared["first"], compared["second"]):
            thing = plan.unfold(side)
            year = plan.add(f"when {thing} {compared['verb']}")
            sides.append(f"{thing} ({year})")
        plan.steps.append(f"the {compared['way']} of {' and '.join(sides)}")
    else:
        _follow(plan, question.strip().rstrip("?"))
    values = [*string.ascii_uppercase[: len(plan.steps) - 1], "answer"]
    lines = zip(plan.steps, values, strict=True)
    return "\n".join(f"Step {number}: {what} -> {value}" for number, (what, value) in enumerate(lines, 1))


def _follow(plan: _Plan, question: str) -> None:
    """Take the steps of a question that asks for one thing."""
    if question.partition(" ")[0].lower() in OPENERS:
        question = question[:1].lower() + question[1:]
    rest = plan.unfold(question)
    asked = _IS.fullmatch(rest)
    if asked is None or len(asked["what"]) > 1:
        plan.steps.append(asked["what"] if asked else rest)
    if len(plan.steps) < 2:
        subject = max(read_names(question), key=len, default="its subject")
        plan.steps = [f"what is told of {_POSSESSIVE.sub('', subject)}", f"{question}, by A"]
