"""Synthetic multi-hop questions: small invented worlds, one per question, seeded and the same on every Python.

`python -m mbt_lite.data.synthetic --out data_samples` writes the shipped files. Each question gets its own world: names are
drawn afresh, facts are stated by the table in `relations.py`, and one document is written per subject. So a fact that
holds in one question need not hold in another, and only reading helps. The supporting documents hold the chain from the
question to its answer; the distractors hold parallel chains over the same relations, so the kind of the answer and the
last relation alone never give it away. Documents, and sentences in them, stand in random order.

Only `Random.random()` is used, the one method whose sequence Python promises to keep.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from mbt_lite.data.names import POOLS, YEARS, Side
from mbt_lite.data.relations import BY_NAME, COMPARISONS, RELATIONS, Comparison, Kind, Relation
from mbt_lite.records import Document, Question, to_row
from mbt_lite.run_dir import write_jsonl

QuestionType = Literal["bridge", "comparison", "bridge_comparison"]
Path_ = tuple[Relation, ...]
T = TypeVar("T")

# A parallel chain is the harder distractor: it needs the first hop to be read too.
PARALLEL_CHAIN_SHARE = 0.6
ALIAS_SHARE = 0.3
# Years this close would ask for arithmetic on the last digits, not for reading.
MIN_YEAR_GAP = 10
LEVELS = {2: "easy", 3: "medium", 4: "hard"}
ALIASES: dict[Kind, str] = {
    "person": "{last}",
    "town": "town of {name}",
    "company": "{first}",
    "school": "{first}",
    "county": "{first}",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """One kind of question and how many of every cycle of rows have it."""

    question_type: QuestionType
    hops: int
    share: int


@dataclasses.dataclass(frozen=True, slots=True)
class Style:
    """How long and how varied the questions of a file are; both ranges include their ends."""

    shapes: tuple[Shape, ...]
    relations: tuple[Relation, ...]
    documents: tuple[int, int]
    extra_facts: tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class SampleFile:
    """One shipped file: its name, whose names it uses, its seed, rows and style."""

    name: str
    side: Side
    seed: int
    rows: int
    style: Style


DEMO = Style(
    shapes=(Shape("bridge", 2, 4), Shape("comparison", 2, 1)),
    relations=tuple(
        BY_NAME[name]
        for name in ("director", "author", "founder", "birthplace", "employer", "headquarters", "school")
    ),
    documents=(4, 4),
    extra_facts=(0, 0),
)  # fmt: skip
MULTIHOP = Style(
    shapes=(
        Shape("bridge", 2, 2),
        Shape("bridge", 3, 2),
        Shape("bridge", 4, 2),
        Shape("comparison", 2, 1),
        Shape("bridge_comparison", 4, 1),
    ),
    relations=RELATIONS,
    documents=(8, 10),
    extra_facts=(0, 2),
)
FILES = (
    SampleFile("demo_train", "train", 11, 256, DEMO),
    SampleFile("demo_dev", "dev", 12, 96, DEMO),
    SampleFile("multihop_train", "train", 13, 240, MULTIHOP),
    SampleFile("multihop_dev", "dev", 14, 120, MULTIHOP),
)


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
        """Give a fresh name; names of one world share no word while the pools last. Years may repeat."""
        if kind == "year":
            return str(self.dice.pick(YEARS[self.side]))
        pool = POOLS[kind]
        while (name := self._next(pool.first_of(self.side)) + pool.joint + self._next(pool.last)) in self.kinds:
            pass
        self.kinds[name] = kind
        return name

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

    def chain(self, path: Path_) -> list[str]:
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


def paths(relations: Sequence[Relation], hops: int) -> list[Path_]:
    """List every chain of `hops` different relations in which each one starts at the kind the one before ends at."""
    grown: list[Path_] = [(relation,) for relation in relations]
    for _ in range(hops - 1):
        grown = [
            (*path, relation)
            for path in grown
            for relation in relations
            if relation.subject == path[-1].object and relation not in path
        ]
    return grown


def generate_questions(file: SampleFile) -> list[Question]:
    """Make the questions of one file; no two have the same words."""
    dice = Dice(file.seed)
    cycle = [shape for shape in file.style.shapes for _ in range(shape.share)]
    shapes = dice.shuffled([cycle[row % len(cycle)] for row in range(file.rows)])
    questions: dict[str, Question] = {}
    for row, shape in enumerate(shapes):
        while (question := _question(dice, file, shape, row)).question in questions:
            pass
        questions[question.question] = question
    return list(questions.values())


def _question(dice: Dice, file: SampleFile, shape: Shape, row: int) -> Question:
    world = World(dice, file.side)
    documents = dice.between(*file.style.documents)
    if shape.question_type == "bridge":
        text, answer = _ask_bridge(world, dice.pick(paths(file.style.relations, shape.hops)), documents)
        aliases = _aliases(world, answer)
    elif shape.question_type == "comparison":
        text, answer = _ask_comparison(world, dice.pick(COMPARISONS), documents)
        aliases = ()
    else:
        text, answer = _ask_bridge_comparison(world, file.style.relations, documents)
        aliases = _aliases(world, answer)
    if shape.question_type != "comparison":
        assert not any(gold in text for gold in (answer, *aliases)), (text, answer, aliases)
    return Question(
        question_id=f"{file.name.replace('_', '-')}-{row:04d}",
        question=text,
        answer=answer,
        aliases=aliases,
        documents=_documents(world, file.style),
        source="synthetic",
        hops=shape.hops,
        question_type=shape.question_type,
        level=LEVELS[shape.hops],
    )
