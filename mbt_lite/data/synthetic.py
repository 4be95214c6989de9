"""Synthetic multi-hop questions: small invented worlds, one per question, seeded and the same on every Python.

`python -m mbt_lite.data.synthetic --out data_samples` writes the shipped files. Each question gets its own world: names are
drawn afresh, facts are stated by the table in `relations.py`, and one document is written per subject. So a fact that
holds in one question need not hold in another, and only reading helps. The supporting documents hold the chain from the
question to its answer; the distractors hold parallel chains over the same relations, so the kind of the answer and the
last relation alone never give it away. Documents, and sentences in them, stand in random order.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mbt_lite.data.names import Side
from mbt_lite.data.relations import BY_NAME, COMPARISONS, RELATIONS, Comparison, Kind, Relation
from mbt_lite.data.world import Dice, World
from mbt_lite.records import Question, to_row
from mbt_lite.run_dir import write_jsonl

QuestionType = Literal["bridge", "comparison", "bridge_comparison"]
Chain = tuple[Relation, ...]

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


def chains(relations: Sequence[Relation], hops: int) -> list[Chain]:
    """List every chain of `hops` different relations in which each one starts at the kind the one before ends at."""
    grown: list[Chain] = [(relation,) for relation in relations]
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
    distractors = dice.between(*file.style.documents) - DOCUMENTS_NEEDED[shape.question_type](shape.hops)
    if shape.question_type == "bridge":
        text, answer, supporting = _bridge(world, dice.pick(chains(file.style.relations, shape.hops)), distractors)
    elif shape.question_type == "comparison":
        text, answer, supporting = _comparison(world, dice.pick(COMPARISONS), distractors)
    else:
        text, answer, supporting = _bridge_comparison(world, file.style.relations, distractors)
    return None
