"""The relation table of the synthetic questions: the whole language of `data_samples/` stands here.

Every sentence of a synthetic document is one fact, `<subject> <phrase> <object>.`, and every phrase belongs to one
relation only; a year is four digits, every other entity is one or two capitalised words. Every bridge question asks the
`question` of its last relation about nested `noun`s of the ones before it::

    Where was the director of Silent Garden born?
    birthplace.question  <- director.noun  <- "Silent Garden"

A comparison asks for the `earlier` or the `later` of two things by a year relation. Within one question's documents a
subject has one object per relation, so every question has one answer.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

Kind = Literal["person", "town", "company", "film", "book", "school", "county", "year"]


@dataclasses.dataclass(frozen=True, slots=True)
class Relation:
    """One relation: from a subject of one kind to the only object of another kind.

    `phrases` are paraphrases that stand between subject and object in a document; `noun` names the object by its
    subject inside a longer question; `question` asks for the object.
    """

    name: str
    subject: Kind
    object: Kind
    phrases: tuple[str, ...]
    noun: str
    question: str

    def sentence(self, phrase: str, subject: str, obj: str) -> str:
        """State a fact with one of the phrases."""
        assert phrase in self.phrases, phrase
        return f"{subject} {phrase} {obj}."

    def name_object(self, subject: str) -> str:
        """Name the object by its subject: `the director of Silent Garden`."""
        return self.noun.format(subject=subject)

    def ask(self, subject: str) -> str:
        """Ask for the object: `Who directed Silent Garden?`."""
        return self.question.format(subject=subject)


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Two questions about two subjects of one year relation; the answer is one of the subjects."""

    relation: str
    earlier: str
    later: str

    def ask(self, first: str, second: str, *, earlier: bool) -> str:
        """Ask which of the two is the earlier (or later) one."""
        return (self.earlier if earlier else self.later).format(first=first, second=second)


def _relation(name: str, subject: Kind, obj: Kind, phrases: str, noun: str, question: str) -> Relation:
    return Relation(name, subject, obj, tuple(phrases.split(" | ")), noun + " {subject}", question)


RELATIONS = (
    _relation(
        "director", "film", "person", "was directed by | was filmed by",
        "the director of", "Who directed {subject}?",
    ),
    _relation(
        "author", "book", "person", "was written by | is a book by",
        "the author of", "Who wrote {subject}?",
    ),
    _relation(
        "founder", "company", "person", "was founded by | was started by",
        "the founder of", "Who founded {subject}?",
    ),
    _relation(
        "birthplace", "person", "town", "was born in | is a native of",
        "the birthplace of", "Where was {subject} born?",
    ),
    _relation(
        "employer", "person", "company", "works for | has a job at",
        "the employer of", "Which company does {subject} work for?",
    ),
    _relation(
        "headquarters", "company", "town", "is based in | has its main office in",
        "the home town of", "Where is {subject} based?",
    ),
    _relation(
        "spouse", "person", "person", "is married to | has a spouse named",
        "the spouse of", "To whom is {subject} married?",
    ),
    _relation(
        "teacher", "person", "person", "was taught by | took lessons from",
        "the teacher of", "Who taught {subject}?",
    ),
    _relation(
        "school", "person", "school", "studied at | was a student at",
        "the school attended by", "Which school did {subject} attend?",
    ),
    _relation(
        "principal", "school", "person", "is run by | is headed by",
        "the principal of", "Who is the principal of {subject}?",
    ),
    _relation(
        "mayor", "town", "person", "is led by | has a mayor named",
        "the mayor of", "Who is the mayor of {subject}?",
    ),
    _relation(
        "county", "town", "county", "lies in | is part of",
        "the county of", "Which county is {subject} in?",
    ),
    _relation(
        "publisher", "book", "company", "was published by | was printed by",
        "the publisher of", "Who published {subject}?",
    ),
    _relation(
        "studio", "film", "company", "was produced by | was paid for by",
        "the producer of", "Who produced {subject}?",
    ),
    _relation(
        "release year", "film", "year", "came out in | was released in",
        "the release year of", "When did {subject} come out?",
    ),
    _relation(
        "print year", "book", "year", "first appeared in | was printed in",
        "the print year of", "When did {subject} appear?",
    ),
    _relation(
        "opening year", "company", "year", "opened in | began in",
        "the opening year of", "When did {subject} open?",
    ),
    _relation(
        "birth year", "person", "year", "has lived since | has been alive since",
        "the birth year of", "When was {subject} born?",
    ),
)  # fmt: skip

COMPARISONS = (
    Comparison(
        "release year",
        "Which film came out earlier, {first} or {second}?",
        "Which film came out later, {first} or {second}?",
    ),
    Comparison(
        "print year",
        "Which book appeared earlier, {first} or {second}?",
        "Which book appeared later, {first} or {second}?",
    ),
    Comparison(
        "opening year",
        "Which company opened earlier, {first} or {second}?",
        "Which company opened later, {first} or {second}?",
    ),
    Comparison(
        "birth year",
        "Who was born earlier, {first} or {second}?",
        "Who was born later, {first} or {second}?",
    ),
)

BY_NAME = {relation.name: relation for relation in RELATIONS}
