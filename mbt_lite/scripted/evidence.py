"""The scripted teacher's search for facts: from the names in a question, sentence by sentence, to the gold.

A fact is one sentence of one document. Two facts are linked when they share a name (the document's title counts as
named). The search keeps the best few chains of each length and scores them by how much of the question they touch, how
strongly their facts are linked, and how far their length is from the question's own nesting ("the founder of the
producer of X" asks for three). It sees the request's text only, so on real data it is a sensible guess, not an oracle.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from mbt_lite.text.names import OPENERS, fold, has, plain_title, read_names, split_sentences

LONGEST_CHAIN = 4
BEAM = 40
YES_NO = ("yes", "no")

_NESTING = re.compile(
    r"\b(?:whose|(?:has|with) the)\b|\bthe (?:[a-z'-]+ ){1,4}(?:of|by|for|in|at|around|from|film)\b|'s\b"
)
_TIME = re.compile(r"\b(?:earlier|later|first|older|younger|oldest|youngest|recently|born|died|before|after|longer)\b")


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """One sentence: `document` counts from 1, `names` are folded and hold the title's own."""

    document: int
    title: str
    text: str
    folded: str
    names: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Findings:
    """What the search found: one chain of facts, or one per compared thing.

    `subjects` are what the question names, one a chain; `is_complete` is True iff the gold stands in the facts (for yes
    and no: iff each compared thing has a fact).
    """

    chains: tuple[tuple[Fact, ...], ...]
    subjects: tuple[str, ...]
    is_comparison: bool
    is_complete: bool

    @property
    def facts(self) -> tuple[Fact, ...]:
        """All facts in order, each once."""
        return tuple(dict.fromkeys(fact for chain in self.chains for fact in chain))


def read_facts(documents: Sequence[tuple[str, str]]) -> list[Fact]:
    """Cut documents (title, text) into facts."""
    facts = []
    for number, (title, text) in enumerate(documents, 1):
        for sentence in split_sentences(text):
            names = {fold(name) for name in [plain_title(title), *read_names(sentence)]} - {""}
            facts.append(Fact(number, title, sentence, fold(f"{title} {sentence}"), frozenset(names)))
    return facts


class Search:
    """One question over its documents."""

    def __init__(self, documents: Sequence[tuple[str, str]], question: str, gold: str) -> None:
        self.documents = documents
        self.facts = read_facts(documents)
        self.question = question
        self.asked = fold(question)
        self.gold = fold(gold)
        self._seen_in = Counter(name for fact in self.facts for name in fact.names)
        names = {word for name in read_names(question) for word in fold(name).split()}
        # what a fact should touch: the question's names count double, its small words nothing
        self._weights = {
            word: 2.0 if word in names or word.isdigit() else 1.0
            for word in set(self.asked.split())
            if word in names or (word not in OPENERS and len(word) > 2)
        }
        self.subjects = self._find_subjects()
        self.is_comparison = self._weighs_two()

    def run(self) -> Findings:
        """Find the facts that the question needs; an empty gold is unknown."""
        if self.is_comparison:
            return self._compare()
        chain = self._best_chain(self.facts, 1 + len(_NESTING.findall(self.question)), self.gold or None)
        subject = self._name_start(chain)
        return Findings((chain,) if chain else (), (subject,), False, any(has(f.folded, self.gold) for f in chain))

    def _weighs_two(self) -> bool:
        """Tell whether the question weighs two things: yes or no, or one of two that it names."""
        names_two = len(self.subjects) > 1 and re.search(r"\b(?:or|both|same|and)\b", self.question) is not None
        chooses = has(self.asked, self.gold) or re.search(r"\bor\b", self.question) is not None
        return self.gold in YES_NO or (names_two and chooses)

    def _find_subjects(self) -> list[str]:
        """List the titles that the question names, in its order, longest first where they overlap."""
        titles = sorted({plain_title(title) for title, _ in self.documents}, key=lambda title: (-len(title), title))
        found: dict[str, int] = {}
        for title in titles:
            words = fold(title)
            if has(self.asked, words) and not any(has(fold(longer), words) for longer in found):
                found[title] = f" {self.asked} ".find(f" {words} ")
        return sorted(found, key=lambda title: found[title])

    def _name_start(self, chain: Sequence[Fact]) -> str:
        """Name what the chain starts from: a title in the question, else its longest name, else a title."""
        if self.subjects:
            starts = [s for s in self.subjects if chain and has(chain[0].folded, fold(s))]
            return (starts or self.subjects)[0]
        names = [name for name in read_names(self.question) if not chain or has(chain[0].folded, fold(name))]
        return max(names, key=len, default=plain_title(chain[0].title) if chain else "the question")

    def _compare(self) -> Findings:
        """Find a chain for each compared thing."""
        subjects = self.subjects[:2] or [plain_title(title) for title, _ in self.documents[:2]]
        hops = 2 if _NESTING.search(self.question) else 1
        chains = []
        for subject in subjects:
            starts = [fact for fact in self.facts if fold(subject) == fold(plain_title(fact.title))]
            chains.append(self._best_chain(starts or self.facts, hops, None))
        return Findings(tuple(filter(None, chains)), tuple(subjects), True, all(chains))

    def _best_chain(self, starts: Iterable[Fact], hops: int, gold: str | None) -> tuple[Fact, ...]:
        """Give the best-scored chain from one of the facts, ending with the gold if there is one to end with."""
        hops = min(hops, LONGEST_CHAIN)
        beam: list[tuple[Fact, ...]] = [(fact,) for fact in starts if self._touches_question(fact)]
        finished: list[tuple[Fact, ...]] = []
        for _ in range(LONGEST_CHAIN if gold is not None else hops):
            beam = sorted(beam, key=lambda chain: -self._score(chain, hops, gold))[:BEAM]
            finished += [chain for chain in beam if gold is None or has(chain[-1].folded, gold)]
            beam = [(*chain, fact) for chain in beam for fact in self.facts if self._may_follow(chain, fact)]
        if finished:
            return max(finished, key=lambda chain: self._score(chain, hops, gold))
        return self._fall_back(gold)

    def _touches_question(self, fact: Fact) -> bool:
        named = any(has(self.asked, name) for name in fact.names)
        return (
            named or any(has(fact.folded, fold(subject)) for subject in self.subjects) or self._coverage((fact,)) >= 2.0
        )

    def _may_follow(self, chain: tuple[Fact, ...], fact: Fact) -> bool:
        return fact not in chain and self.link_strength(chain[-1], fact) > 0

    def _fall_back(self, gold: str | None) -> tuple[Fact, ...]:
        """Without a linked chain: the fact closest to the question, and the closest one with the gold."""
        ranked = sorted(self.facts, key=lambda fact: -self._coverage((fact,)))
        with_gold = [fact for fact in ranked if gold is not None and has(fact.folded, gold)]
        return tuple(dict.fromkeys(ranked[:1] + with_gold[:1]))

    def link_names(self, first: Fact, second: Fact) -> list[str]:
        """List the names that link two facts, folded, strongest first."""
        shared = {name for name in first.names if has(second.folded, name)}
        shared |= {name for name in second.names if has(first.folded, name)}
        if not self.is_comparison:
            shared.discard(self.gold)
        return sorted(shared, key=lambda name: (-self._name_strength(name), name))

    def show_link(self, first: Fact, second: Fact) -> str:
        """Give the strongest linking name of two facts as the documents write it."""
        titles = [plain_title(first.title), plain_title(second.title)]
        written = [*titles, *read_names(first.text), *read_names(second.text)]
        links = self.link_names(first, second)[:1]
        return next((name for name in written if fold(name) in links), titles[1])

    def link_strength(self, first: Fact, second: Fact) -> float:
        """Say how strongly two facts are linked: 0 not at all, 2 by a full name that leads to a new document."""
        names = self.link_names(first, second)
        if not names:
            return 0.0
        return self._name_strength(names[0]) * (0.6 if first.document == second.document else 1.0)

    def _name_strength(self, name: str) -> float:
        """Weigh a name: full names and titles more than single words, what the question says already little."""
        if has(self.asked, name):
            return 0.5
        is_title = any(fold(plain_title(title)) == name for title, _ in self.documents)
        if is_title or " " in name:
            return 2.0
        return 1.0 / math.sqrt(max(1, self._seen_in[name] - 1))

    def _coverage(self, chain: Sequence[Fact]) -> float:
        """Sum the weights of the question's words in a chain; words match by their first five letters."""
        words = {word[:5] for fact in chain for word in fact.folded.split()}
        return sum(weight for word, weight in self._weights.items() if word[:5] in words)

    def _score(self, chain: tuple[Fact, ...], hops: int, gold: str | None) -> float:
        links = sum(self.link_strength(a, b) for a, b in itertools.pairwise(chain))
        links -= 0.7 * (len(chain) - 1 - sum(a.document != b.document for a, b in itertools.pairwise(chain)))
        links -= 1.5 * sum(chain[i].document in {f.document for f in chain[: max(0, i - 1)]} for i in range(len(chain)))
        score = self._coverage(chain) + links - 1.6 * (len(chain) - 1) - 0.8 * abs(len(chain) - hops)
        if gold is not None:
            # a gold that only the last fact holds has been reached, not stumbled over
            score -= 1.0 * sum(has(fact.folded, gold) for fact in chain[:-1])
        if gold is None and _TIME.search(self.question) and re.search(r"\d", chain[-1].text):
            score += 1.5
        return score
