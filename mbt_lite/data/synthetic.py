"""Synthetic multi-hop questions: small invented worlds, one per question, seeded and the same on every Python.

`python -m mbt_lite.data.synthetic --out data_samples` writes the shipped files. Each question gets its own world:
names are drawn afresh, facts are stated by the table in `relations.py`, and one document is written per subject. So a
fact that holds in one question need not hold in another, and only reading helps. The supporting documents hold the
chain from the question to its answer; the distractors hold parallel chains over the same relations, so the kind of
the answer and the last relation alone never give it away. Documents, and sentences in them, stand in random order.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mbt_lite.data.names import Side
from mbt_lite.data.relations import BY_NAME, COMPARISONS, RELATIONS, Comparison, Kind, Relation
from mbt_lite.data.world import Dice, World
from mbt_lite.files import write_jsonl
from mbt_lite.records import Question, to_row

QuestionType = Literal["bridge", "comparison", "bridge_comparison"]
Chain = tuple[Relation, ...]

# A parallel chain is the harder distractor: it needs the first hop to be read too.
_PARALLEL_CHAIN_SHARE = 0.6
_ALIAS_SHARE = 0.3
# Years this close would ask for arithmetic on the last digits, not for reading.
_MIN_YEAR_GAP = 10
LEVELS = {2: "easy", 3: "medium", 4: "hard"}
_ALIASES: dict[Kind, str] = {
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


@functools.cache
def chains(relations: tuple[Relation, ...], hops: int) -> list[Chain]:
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
    asked, text, answer, bridges = _ask(world, file.style, shape)
    world.reserve(answer)
    supporting = set(world.facts)
    _add_distractors(world, asked, dice.between(*file.style.documents))
    _add_extra_facts(world, file.style)
    aliases = () if shape.question_type == "comparison" else _aliases(world, answer)
    assert shape.question_type == "comparison" or not any(gold in text for gold in (answer, *aliases)), text
    return Question(
        question_id=f"{file.name.replace('_', '-')}-{row:04d}",
        question=text,
        answer=answer,
        aliases=aliases,
        documents=tuple(world.document(s, is_supporting=s in supporting) for s in dice.shuffled(list(world.facts))),
        source="synthetic",
        hops=shape.hops,
        question_type=shape.question_type,
        level=LEVELS[shape.hops],
        bridges=bridges,
    )


def _ask(world: World, style: Style, shape: Shape) -> tuple[list[Chain], str, str, tuple[str, ...]]:
    """State the facts that a question needs; give the chains it asks about, its text, its answer and its bridges."""
    dice = world.dice
    if shape.question_type == "bridge":
        chain = dice.pick(chains(style.relations, shape.hops))
        entities = world.chain(chain)
        return [chain], chain[-1].ask(_name(entities[0], chain[:-1])), entities[-1], tuple(entities[1:-1])
    options = {comparison: _links(style, shape, comparison) for comparison in COMPARISONS}
    comparison = dice.pick([comparison for comparison, links in options.items() if links])
    compared = BY_NAME[comparison.relation]
    links = [dice.pick(options[comparison]) for _ in range(2)]
    starts, candidates = zip(*(_start(world, link, compared.subject) for link in links), strict=True)
    years = _state_years(world, compared, candidates)
    earlier = dice.chance(0.5)
    names = [_name(start, link) for start, link in zip(starts, links, strict=True)]
    answer = candidates[years.index(min(years) if earlier else max(years))]
    said = (*starts, answer)
    bridges = (*(one for one in candidates if one not in said), *map(str, years))
    return [(*link, compared) for link in links], comparison.ask(*names, earlier=earlier), answer, bridges


def _links(style: Style, shape: Shape, comparison: Comparison) -> list[Chain]:
    """List what may stand between the question's words and the compared things: nothing, or one bridging relation."""
    if shape.question_type == "comparison":
        return [()]
    return [(relation,) for relation in style.relations if relation.object == BY_NAME[comparison.relation].subject]


def _start(world: World, link: Chain, kind: Kind) -> tuple[str, str]:
    """Draw one side of a comparison; give what the question names and what it compares."""
    if not link:
        entity = world.draw(kind)
        return entity, entity
    entities = world.chain(link)
    return entities[0], entities[-1]


def _state_years(world: World, relation: Relation, subjects: Sequence[str]) -> list[int]:
    years = [0, 0]
    while abs(years[0] - years[1]) < _MIN_YEAR_GAP:
        years = [int(world.draw(relation.object)) for _ in subjects]
    for subject, year in zip(subjects, years, strict=True):
        world.state(subject, relation, str(year))
    return years


def _name(start: str, chain: Chain) -> str:
    """Name the end of a chain by its start: `the employer of the director of Silent Garden`."""
    name = start
    for relation in chain:
        name = relation.name_object(name)
    return name


def _add_distractors(world: World, asked: Sequence[Chain], documents: int) -> None:
    """State facts about fresh subjects by the relations asked for, until the world has this many subjects.

    The first ones always offer a wrong object of the last relation.
    """
    dice = world.dice
    chain = dice.pick(asked)
    fits = len(world.facts) + len(chain) <= documents
    world.chain(chain if fits and dice.chance(_PARALLEL_CHAIN_SHARE) else chain[-1:])
    relations = [relation for chain in asked for relation in chain]
    while len(world.facts) < documents:
        world.chain((dice.pick(relations),))


def _add_extra_facts(world: World, style: Style) -> None:
    """Give every subject further facts that the question does not need."""
    for subject in list(world.facts):
        free = [r for r in style.relations if r.subject == world.kinds[subject] and r not in world.facts[subject]]
        for relation in world.dice.shuffled(free)[: world.dice.between(*style.extra_facts)]:
            world.state(subject, relation)


def _aliases(world: World, answer: str) -> tuple[str, ...]:
    """Give some answers another name that is right too; years have none."""
    kind = world.kinds[answer]
    if kind not in _ALIASES or not world.dice.chance(_ALIAS_SHARE):
        return ()
    words = answer.split()
    return (_ALIASES[kind].format(name=answer, first=words[0], last=words[-1]),)


def write_samples(folder: Path) -> list[Path]:
    """Write every shipped file into a folder; give their paths."""
    written = []
    for file in FILES:
        path = folder / f"{file.name}.jsonl"
        write_jsonl(path, (to_row(question) for question in generate_questions(file)))
        written.append(path)
    return written


def main() -> None:
    """Write the shipped files where `--out` says."""
    parser = argparse.ArgumentParser(prog="python -m mbt_lite.data.synthetic", description="write data_samples/")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the files into")
    for path in write_samples(parser.parse_args().out):
        print(path)


if __name__ == "__main__":
    main()
