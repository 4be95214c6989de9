"""Traces of our own making whose verdicts we know, because we wrote them so: what a judge is held against.

Each of 12 shapes is written about 8 of our synthetic questions, in two wordings: 96 traces. A shape fixes the labels:
whether the answer is right, whether the trace derives it, where, which paragraphs say nothing new, where it stops being
of use, and which phases it goes through. So the labels are ours, not a rule's: a trace that lists the right name among
candidates has not derived it, and one that announces a check has not made it.

`python -m mbt_lite.judge.labelled` prints them, one JSON object a line.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mbt_lite.data.stream import iter_records
from mbt_lite.data.synthetic import FILES, generate_questions
from mbt_lite.errors import DataError
from mbt_lite.judge.agreement import agreements, count_tries, labels
from mbt_lite.judge.ask import Item, Send, find
from mbt_lite.judge.subjects import KINDS, Kind, Subject
from mbt_lite.layouts.fields import field, of_type, optional, texts
from mbt_lite.metrics.breakdown import tier
from mbt_lite.recipe.schema import Judge
from mbt_lite.records import Question
from mbt_lite.text.phases import PHASES

QUESTIONS_PER_SHAPE = 8
# What is asked only where our label on accuracy is one of these.
ASKED_OF: Mapping[Kind, tuple[str, ...]] = {
    "overthinking": ("correct",),
    "underthinking": ("incorrect", "not attempted"),
}
Labels = Mapping[str, Hashable]


@dataclasses.dataclass(frozen=True, slots=True)
class LabelledTrace:
    """One trace with our labels, named as `judge/agreement.py` names them."""

    label_id: str
    subject: Subject
    labels: Labels


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """What a trace can say about one question: its facts in order, the links between them, a wrong name, documents."""

    question: Question
    facts: tuple[str, ...]
    numbers: tuple[int, ...]
    link: str
    wrong: str
    wrong_number: int
    aside: str

    def fact(self, place: int, wording: int) -> str:
        """State one fact with its document."""
        said = self.facts[place].rstrip(".")
        number = self.numbers[place]
        return f"Document {number} says that {said}." if wording else f"According to Document {number}, {said}."

    @property
    def gold(self) -> str:
        """The right answer."""
        return self.question.answer


@dataclasses.dataclass(frozen=True, slots=True)
class Draft:
    """A trace as paragraphs, its final answer, and our judgement of it; paragraphs count from 1."""

    paragraphs: list[str]
    answer: str
    accuracy: str
    hit: bool
    level: int
    phases: tuple[str, ...]
    first_correct: int | None
    redundant: tuple[int, ...]
    useful: int


def make_worlds(count: int) -> list[World]:
    """Take the first bridge questions of two hops from our generator and read their chains."""
    file = next(file for file in FILES if file.name == "multihop_train")
    worlds = []
    for question in generate_questions(file):
        if question.question_type == "bridge" and question.hops == 2:
            worlds.append(_read_world(question))
        if len(worlds) == count:
            return worlds
    raise AssertionError(f"only {len(worlds)} questions of {count}")


def _read_world(question: Question) -> World:
    """Follow the chain: the first document is named in the question, each fact names the next one's title."""
    numbered = list(enumerate(question.documents, 1))
    first = next(item for item in numbered if item[1].is_supporting and item[1].title in question.question)
    second = next(item for item in numbered if item[1].is_supporting and item is not first)
    others = [item for item in numbered if not item[1].is_supporting]
    facts = []
    for (_, document), end in ((first, second[1].title), (second, question.answer)):
        facts.append(next(s for s in document.text.split(". ") if s.rstrip(".").endswith(end)).rstrip(".") + ".")
    return World(
        question=question,
        facts=tuple(facts),
        numbers=(first[0], second[0]),
        link=second[1].title,
        wrong=others[0][1].title,
        wrong_number=others[0][0],
        aside=others[-1][1].title,
    )


# Wordings of the phases, two of each; `{}` slots are filled from the world.
UNDERSTAND = (
    "The question asks: {question} {aside} only looks relevant, so we set it aside.",
    "What do we have to find? {question} The document on {aside} has nothing to do with it.",
)
PLAN = (
    "First we need the link, then what is said of it.",
    "There are two things to settle: who or what stands in between, and after that the fact about it.",
)
DOUBT = (
    "Wait, did we mix up {link} with {wrong}? Document {wrong_number} is on {wrong}, the chain goes through {link}.",
    "Could {wrong} be meant instead of {link}? No: Document {wrong_number} is about someone else, so the link stands.",
)
MONITOR = ("Does this follow? Both name {link}, so the step holds.", "So far this is sound: {link} stands in both.")
VERIFY = (
    "To verify: the chain starts where the question starts, passes {link}, and ends at {gold}. It fits the question.",
    "Held against the question, every part is met: the start, {link} in between, and {gold} at the end.",
)
CONCLUDE = ("So the answer is {gold}.", "That gives {gold}.")
LOOP = (
    "Let us think again. {fact} So it is {gold}.",
    "Hmm, once more. {fact} Yes, {gold}.",
)
ANNOUNCE = ("Let us double check everything carefully.", "We should really make sure about all of this.")


def _say(world: World, phrases: Sequence[str], wording: int) -> str:
    return phrases[wording].format(
        question=world.question.question,
        aside=world.aside,
        link=world.link,
        wrong=world.wrong,
        wrong_number=world.wrong_number,
        gold=world.gold,
        fact=world.fact(1, 1 - wording),
    )


def _steps(world: World, wording: int) -> list[str]:
    return [world.fact(0, wording), f"{world.fact(1, wording)} {_say(world, CONCLUDE, wording)}"]


def _right(paragraphs: list[str], world: World, level: int, phases: Sequence[str], first: int, **other: Any) -> Draft:
    """Fill in what all right traces share."""
    values: dict[str, Any] = {"redundant": (), "useful": len(paragraphs), "answer": world.gold, **other}
    return Draft(
        paragraphs,
        values["answer"],
        "correct",
        True,
        level,
        tuple(phases),
        first,
        values["redundant"],
        values["useful"],
    )


def _bare(world: World, wording: int) -> Draft:
    said = (f"It must be {world.gold}.", f"Probably {world.gold}.")[wording]
    return Draft([said], world.gold, "correct", False, 0, (), None, (), 1)


def _line(world: World, wording: int) -> Draft:
    return _right(_steps(world, wording), world, 1, (), 2)


def _planned(world: World, wording: int) -> Draft:
    return _right([_say(world, PLAN, wording), *_steps(world, wording)], world, 2, ("plan",), 3)


def _watched(world: World, wording: int) -> Draft:
    first, second = _steps(world, wording)
    watched = [_say(world, PLAN, wording), first, f"{second} {_say(world, MONITOR, wording)}"]
    return _right(watched, world, 3, ("plan", "execute_monitor"), 3)


def _four_phases(world: World, wording: int) -> Draft:
    first, second = _steps(world, wording)
    parts = [_say(world, UNDERSTAND, wording), _say(world, PLAN, wording), first]
    parts += [f"{second} {_say(world, MONITOR, wording)}", _say(world, VERIFY, wording)]
    return _right(parts, world, 4, ("understand_filter", "plan", "execute_monitor", "verify"), 4)


def _five_phases(world: World, wording: int) -> Draft:
    first, second = _steps(world, wording)
    parts = [_say(world, UNDERSTAND, wording), _say(world, PLAN, wording), first]
    parts += [f"{second} {_say(world, MONITOR, wording)}", _say(world, DOUBT, wording), _say(world, VERIFY, wording)]
    return _right(parts, world, 5, PHASES, 4)


def _looping(world: World, wording: int) -> Draft:
    loops = [_say(world, LOOP, wording)] * 2
    parts = [*_steps(world, wording), _say(world, ANNOUNCE, wording), *loops]
    return _right(parts, world, 1, (), 2, redundant=(3, 4, 5), useful=2)


def _other_form(world: World, wording: int) -> Draft:
    answer = (f"It is {world.gold}", f"{world.gold}, as Document {world.numbers[1]} says")[wording]
    return _right(_steps(world, wording), world, 1, (), 2, answer=answer)


def _lost(world: World, wording: int) -> Draft:
    drop = (
        f"But that seems too easy, the question must mean something else. {world.wrong} sounds better.",
        f"Perhaps that is not it after all. We take {world.wrong}.",
    )[wording]
    parts = [*_steps(world, wording), drop]
    return Draft(parts, world.wrong, "incorrect", True, 1, (), 2, (3,), 2)


def _stopped_early(world: World, wording: int) -> Draft:
    stop = (f"So the answer is {world.link}.", f"That must already be it: {world.link}.")[wording]
    return Draft([world.fact(0, wording), stop], world.link, "incorrect", False, 1, (), None, (2,), 1)


def _listed(world: World, wording: int) -> Draft:
    listing = (
        f"The documents name {world.wrong}, {world.gold}, {world.aside} and {world.link}.",
        f"Candidates: {world.aside}, {world.wrong}, {world.gold}.",
    )[wording]
    choice = (f"We pick {world.wrong}.", f"{world.wrong} is the best guess.")[wording]
    return Draft([listing, choice], world.wrong, "incorrect", False, 1, (), None, (), 1)


def _gave_up(world: World, wording: int) -> Draft:
    give_up = ("Nothing here says what follows from that.", "We do not see how to go on from there.")[wording]
    answer = ("The documents do not say.", "unknown")[wording]
    return Draft([world.fact(0, wording), give_up], answer, "not attempted", False, 1, (), None, (2,), 1)


SHAPES: Mapping[str, Callable[[World, int], Draft]] = {
    "bare": _bare,
    "line": _line,
    "planned": _planned,
    "watched": _watched,
    "four_phases": _four_phases,
    "five_phases": _five_phases,
    "looping": _looping,
    "other_form": _other_form,
    "lost": _lost,
    "stopped_early": _stopped_early,
    "listed": _listed,
    "gave_up": _gave_up,
}


def labelled_traces() -> list[LabelledTrace]:
    """Write every shape about every question; half of each shape in either wording."""
    worlds = make_worlds(QUESTIONS_PER_SHAPE)
    return [
        _label(f"{shape}-{place}", world, write(world, place % 2))
        for shape, write in SHAPES.items()
        for place, world in enumerate(worlds)
    ]


def _label(label_id: str, world: World, draft: Draft) -> LabelledTrace:
    question = world.question
    documents = [f"[{n}] {d.title}: {d.text}" for n, d in enumerate(question.documents, 1) if d.is_supporting]
    subject = Subject(
        question=question.question,
        golds=question.golds,
        evidence="\n".join(documents),
        tier=tier(question) or "not known",
        answer=draft.answer,
        trace="\n\n".join(draft.paragraphs),
    )
    thinking = "overthinking" if draft.accuracy == "correct" else "underthinking"
    numbers = range(1, len(draft.paragraphs) + 1)
    return LabelledTrace(
        label_id,
        subject,
        {
            "accuracy": draft.accuracy,
            "hit": draft.hit,
            "metacognition": draft.level,
            "quality level": draft.level,
            **{f"quality phases/{phase}": phase in draft.phases for phase in PHASES},
            "first correct paragraph": draft.first_correct,
            **{f"redundant paragraphs/{number}": number in draft.redundant for number in numbers},
            f"{thinking} paragraph": draft.useful,
        },
    )


def to_row(labelled: LabelledTrace) -> dict[str, Any]:
    """Turn a labelled trace into the JSON object that stands on its line."""
    subject = dataclasses.asdict(labelled.subject)
    return {"label_id": labelled.label_id, **subject, "labels": dict(labelled.labels)}


def read_labels(path: Path) -> list[LabelledTrace]:
    """Read labelled traces of your own, as `to_row` writes ours; DataError for a line that is none."""
    found = []
    for where, record in iter_records(path):
        row = of_type(record, dict, f"{where}: record")
        subject = Subject(
            question=field(row, "question", str, where),
            golds=texts(row, "golds", where),
            evidence=field(row, "evidence", str, where),
            tier=field(row, "tier", str, where),
            answer=optional(row, "answer", str, where),
            trace=optional(row, "trace", str, where),
        )
        given = field(row, "labels", dict, where)
        if not all(type(value) in (str, int, bool, type(None)) for value in given.values()):
            raise DataError(f"{where}: a label is no text, number, true, false or null (got {given}); mend it")
        found.append(LabelledTrace(field(row, "label_id", str, where), subject, given))
    if not found:
        raise DataError(f"{path}: holds no labelled trace (got no records); name another file")
    return found


def hold_against(labelled: Sequence[LabelledTrace], judge: Judge, send: Send) -> dict[str, Any]:
    """Let a judge see labelled traces; give its agreement with the labels, and how many verdicts it failed to give.

    Over- and underthinking are asked as the label on accuracy says, so that one slip is not counted twice.
    """
    places: dict[str, tuple[LabelledTrace, Kind]] = {}
    for one in labelled:
        for kind in KINDS:
            answers = ASKED_OF.get(kind)
            if answers is None or one.labels.get("accuracy") in answers or f"{kind} paragraph" in one.labels:
                places[f"{one.label_id}:{kind}"] = (one, kind)
    items = {label: Item(kind, one.subject, 0) for label, (one, kind) in places.items()}
    found = find(items, judge, send, "judge: labelled traces")
    pairs: list[tuple[Labels, Labels]] = [
        (places[label][0].labels, labels(places[label][1], finding.verdict, places[label][0].subject))
        for label, finding in found.items()
        if finding.verdict is not None
    ]
    return {
        "judge": judge.model,
        "n_traces": len(labelled),
        "n_verdicts": len(found),
        "n_unscored": sum(finding.verdict is None for finding in found.values()),
        "tries": count_tries((places[label][1], finding) for label, finding in found.items()),
        "agreement": agreements(pairs),
    }


def agreement_lines(held: Mapping[str, Any]) -> list[str]:
    """Write for people how many tries verdicts took, and the agreement, a measure a line."""
    lines = [
        f"judge {held['judge']}: {held['n_traces']} labelled traces, {held['n_verdicts']} verdicts, "
        f"{held['n_unscored']} unscored"
    ]
    for kind, tries in held["tries"].items():
        shares = ", ".join(f"{100 * n / tries['n']:.1f} %" for n in tries["by_try"])
        reasons = "".join(f"; {n} {reason}" for reason, n in tries["unscored"].items())
        lines.append(f"{kind:<26} a verdict by try 1, 2, ...: {shares} of {tries['n']}{reasons}")
    for name, found in held["agreement"].items():
        kappa = "undefined" if found["kappa"] is None else f"{found['kappa']:.2f}"
        lines.append(f"{name:<26} agrees in {100 * found['share']:5.1f} %  kappa {kappa}  n={found['n']}")
    return lines


if __name__ == "__main__":
    for row in map(to_row, labelled_traces()):
        print(json.dumps(row, ensure_ascii=False))
