"""One invented world: fresh names, facts by the relation table, one document per subject.

Only `Random.random()` is used, the one method whose sequence Python promises to keep between versions.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from mbt_lite.data.names import POOLS, YEARS, Side
from mbt_lite.data.relations import Kind, Relation
from mbt_lite.records import Document

T = TypeVar("T")


class Dice:
    """Seeded choices made of `Random.random()` alone."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def chance(self, share: float) -> bool:
        """Tell yes in this share of the throws."""
        return self._random.random() < share

    def between(self, low: int, high: int) -> int:
        """Give a whole number, both ends included."""
        return low + int(self._random.random() * (high - low + 1))

    def pick(self, items: Sequence[T]) -> T:
        """Give one of the items."""
        return items[int(self._random.random() * len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Give the items in random order (Fisher-Yates)."""
        mixed = list(items)
        for last in range(len(mixed) - 1, 0, -1):
            other = int(self._random.random() * (last + 1))
            mixed[last], mixed[other] = mixed[other], mixed[last]
        return mixed


class World:
    """The names and facts of one question: every subject has at most one object per relation."""

    def __init__(self, dice: Dice, side: Side) -> None:
        self.dice = dice
        self.side: Side = side
        self.kinds: dict[str, Kind] = {}
        self.facts: dict[str, dict[Relation, str]] = {}
        self._decks: dict[tuple[str, ...], list[str]] = {}

    def draw(self, kind: Kind) -> str:
        """Give a fresh name; names share no word while the pools last. Years may repeat unless reserved."""
        if kind == "year":
            while (year := str(self.dice.pick(YEARS[self.side]))) in self.kinds:
                pass
            return year
        pool = POOLS[kind]
        while (name := self._next(pool.first_of(self.side)) + pool.joint + self._next(pool.last)) in self.kinds:
            pass
        self.kinds[name] = kind
        return name

    def reserve(self, answer: str) -> None:
        """Let no later fact have the answer as its object; names never repeat, so this is about years."""
        self.kinds.setdefault(answer, "year")

    def _next(self, words: tuple[str, ...]) -> str:
        deck = self._decks.get(words)
        if not deck:
            deck = self._decks[words] = self.dice.shuffled(words)
        return deck.pop()

    def state(self, subject: str, relation: Relation, obj: str | None = None) -> str:
        """State a fact about a subject, with a fresh object unless one is given; give the object."""
        facts = self.facts.setdefault(subject, {})
        assert relation not in facts, (subject, relation.name)
        facts[relation] = self.draw(relation.object) if obj is None else obj
        return facts[relation]

    def chain(self, path: Sequence[Relation]) -> list[str]:
        """State a chain of facts along a path of relations from a fresh subject; give all its entities in order."""
        entities = [self.draw(path[0].subject)]
        for relation in path:
            entities.append(self.state(entities[-1], relation))
        return entities

    def document(self, subject: str, *, is_supporting: bool) -> Document:
        """Write a subject's facts down in random order and wording."""
        facts = self.dice.shuffled(list(self.facts[subject].items()))
        sentences = [relation.sentence(self.dice.pick(relation.phrases), subject, obj) for relation, obj in facts]
        return Document(subject, " ".join(sentences), is_supporting)
