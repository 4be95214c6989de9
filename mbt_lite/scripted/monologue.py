"""The scripted monologue: five phases over the facts that were found, in the variants of `wording.py`.

Source: the phases of arXiv 2602.22508. Each phase is one paragraph: understand and filter, plan, execute and monitor,
self-correct, verify. Facts are quoted nearly word for word, links are named outright, and the last words are the gold.
A wrong value appears only where the draft held it: then the self-correction says what was wrong with it.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable

from mbt_lite.scripted import wording
from mbt_lite.scripted.evidence import Fact, Findings, Search
from mbt_lite.text.completion import parse_completion
from mbt_lite.text.names import fold, has, plain_title, read_names
from mbt_lite.text.paragraphs import sentences
from mbt_lite.text.phases import LABELS

LONGEST_QUOTE_WORDS = 20
LONGEST_CLAIM_WORDS = 6

# `the director of `, `the school attended by ` just before a name
_NOUN = re.compile(
    r"\bthe ((?:(?!of |the )[a-z][a-z'-]* ){1,4}?)(attended by|of|by|around|for|in|at) (?:the )?(?:film |book )?$"
)
_YEAR = re.compile(r"\b(?:1\d{3}|20\d{2})\b")
_TAG = re.compile(r"</?\w+>")
# words that a cut quotation must not end with, and sentence openers that are no names
_DANGLING = re.compile(r"(?:a|an|and|as|at|before|but|by|for|in|is|of|on|or|the|to|who|with)", re.IGNORECASE)
_LOWERED = re.compile(
    r"(?:An?|After|As|At|Born|Both|By|During|From|He|Her|His|In|It|Its|On|She|The|Their|There|They|This) "
)


def quote(text: str, keys: Iterable[str], longest: int = LONGEST_QUOTE_WORDS) -> str:
    """Cut a sentence to at most `longest` words that hold as many of the folded keys as fit, the last ones first.

    >>> quote("The town, which lies far in the north, was led by Nora Vale.", ["nora vale"], 5)
    'was led by Nora Vale'
    """
    words = text.rstrip(".!? ").split()
    if len(words) > longest:
        spans = [span for key in keys if (span := _find(words, key)) is not None]
        end = max(longest, max((stop for _, stop in spans), default=0))
        start = max(0, end - longest)
        words = words[start:end]
        while len(words) > 1 and _DANGLING.fullmatch(words[-1]):
            words.pop()
    clause = " ".join(words).strip(" ,;:")
    return clause[0].lower() + clause[1:] if _LOWERED.match(clause) else clause


def _find(words: list[str], key: str) -> tuple[int, int] | None:
    """Find a folded word sequence in a sentence's words: first and past-last index."""
    folded = [(index, fold(word)) for index, word in enumerate(words) if fold(word)]
    wanted = key.split()
    for start in range(len(folded) - len(wanted) + 1):
        if [word for _, word in folded[start : start + len(wanted)]] == wanted:
            return folded[start][0], folded[start + len(wanted) - 1][0] + 1
    return None


def read_claim(draft: str, question: str) -> str | None:
    """Give what a draft answers: its answer tag, else a name in its last sentence that the question does not hold.

    None if it commits itself to nothing short enough to be an answer.
    """
    answer = parse_completion(draft).answer
    if answer is not None:
        claims = [" ".join(_TAG.sub(" ", answer).split()).rstrip(".")]
    else:
        last = (sentences(_TAG.sub(" ", draft)) or [""])[-1]
        claims = [name for name in read_names(last) if not has(fold(question), fold(name))][::-1]
    fitting = [claim for claim in claims if fold(claim) and len(claim.split()) <= LONGEST_CLAIM_WORDS]
    return fitting[0] if fitting else None


def is_idea(claim: str) -> bool:
    """Tell whether a claim that no document holds is worth naming: a name of two words or a number, no stray word.

    >>> [is_idea(claim) for claim in ("Nora Vale", "1912", "True", "answer and")]
    [True, True, False, False]
    """
    words = claim.split()
    return claim.isdigit() or (len(words) > 1 and all(word[0].isupper() for word in words))


class Monologue:
    """One monologue over one search."""

    def __init__(self, search: Search, findings: Findings, gold: str, draft: str | None, dice: random.Random) -> None:
        self.search = search
        self.findings = findings
        self.gold = gold
        self.draft = draft
        self.dice = dice
        self.subject = findings.subjects[0]
        used = {fact.document for fact in findings.facts}
        self.aside = [plain_title(title) for number, (title, _) in enumerate(search.documents, 1) if number not in used]

    def write(self) -> str:
        """Write the five paragraphs, each under the label that the prompts ask for."""
        phases = (self.understand(), self.plan(), self.execute(), self.correct(), self.verify())
        return "\n\n".join(f"[{label}]\n{words}" for label, words in zip(LABELS.values(), phases, strict=True))

    def _say(self, variants: tuple[str, ...], **slots: object) -> str:
        return self.dice.choice(variants).format(**slots)

    def understand(self) -> str:
        """Name what is asked about and set one document aside."""
        if self.findings.is_comparison:
            asked = self._say(wording.ASKED_TWO)
        else:
            asked = self._say(wording.ASKED, subject=self.subject)
        if not self.aside:
            return f"{asked} {self._say(wording.NOTHING_ASIDE)}"
        # a title that only looks relevant shares words with the question
        closest = max(self.aside, key=lambda title: len(set(fold(title).split()) & set(self.search.asked.split())))
        return f"{asked} {self._say(wording.SET_ASIDE, title=closest)}"

    def plan(self) -> str:
        """Name the sub-questions in their order, as the question nests them."""
        if self.findings.is_comparison and len(self.findings.subjects) > 1:
            first, second = self.findings.subjects[:2]
            return self._say(wording.PLAN_TWO, first=first, second=second)
        nouns = self._nested_nouns()
        first = f"the {nouns[0][0]} {nouns[0][1]} {self.subject}" if nouns else self.subject
        if len(nouns) < 2:
            return self._say(wording.PLAN, first=first)
        return self._say(wording.PLAN_MORE, first=first, rest=", then ".join(f"the {noun}" for noun, _ in nouns[1:]))

    def _nested_nouns(self) -> list[tuple[str, str]]:
        """List the nouns that lead to the subject, innermost first: [(director, of)] in `the director of X`."""
        before = self.search.question.partition(self.subject)[0]
        nouns = []
        while match := _NOUN.search(before):
            nouns.append((match[1].strip(), match[2]))
            before = before[: match.start()]
        return nouns

    def execute(self) -> str:
        """Quote fact after fact, and ask whether each step holds."""
        steps = []
        for chain in self.findings.chains:
            for index, fact in enumerate(chain):
                steps.append(self._step(fact, chain[index - 1] if index else None, chain[index + 1 : index + 2]))
        if not self.findings.is_complete or not steps:
            return " ".join([*steps, self._say(wording.NOT_OUTRIGHT)])
        if len(steps) > 2:
            steps.insert(1, self._say(wording.SOUND))
        if order := self._order():
            steps.append(order)
        return " ".join([*steps, self._say(wording.SETTLED)])

    def _step(self, fact: Fact, before: Fact | None, after: tuple[Fact, ...]) -> str:
        """State one fact in the document's words, with the names that link it and the gold."""
        title = plain_title(fact.title)
        links = [self.search.link_names(a, b)[:1] for a, b in itertools.pairwise(filter(None, (before, fact, *after)))]
        keys = [fold(title), *(name for names in links for name in names), *([] if after else [self.search.gold])]
        fact_text = quote(fact.text, keys)
        if has(fold(fact_text), fold(title)):
            return self._say(wording.STEP, number=fact.document, fact=fact_text)
        return self._say(wording.STEP_ON, number=fact.document, title=title, fact=fact_text)

    def _order(self) -> str | None:
        """Compare the years of two compared things, where each last fact names exactly one."""
        ends = [chain[-1] for chain in self.findings.chains]
        years = [set(_YEAR.findall(fact.text)) for fact in ends]
        if not self.findings.is_comparison or len(years) != 2 or any(len(found) != 1 for found in years):
            return None
        low, high = sorted(year for found in years for year in found)
        return self._say(wording.ORDER, low=low, high=high) if low != high else None

    def correct(self) -> str:
        """Drop the draft's wrong idea and say why; without one, raise a doubt and settle it."""
        if self.draft is None:
            return self._doubt()
        claim = read_claim(self.draft, self.search.question)
        gold_words, said = self.search.gold, fold(claim if claim is not None else self.draft)
        if has(said, gold_words) or (claim is not None and has(gold_words, said)):
            return self._doubt()
        return self._reject(claim)

    def _doubt(self) -> str:
        chain = self.findings.chains[0] if self.findings.chains else ()
        if not chain:
            return self._say(wording.WRONG_UNNAMED, number=1)
        last = chain[-1].document
        if self.findings.is_comparison:
            return self._say(wording.DOUBT_SWAPPED, number=chain[0].document, subject=self.subject)
        if len(chain) > 1 and (not self.aside or self.dice.random() < 0.6):
            link = self.search.show_link(chain[-2], chain[-1])
            return self._say(wording.DOUBT_LINK, link=link, number=chain[-2].document)
        if self.aside:
            subject, title = plain_title(chain[0].title), self.dice.choice(self.aside)
            return self._say(wording.DOUBT_MIXED, subject=subject, title=title, number=chain[0].document)
        return self._say(wording.DOUBT_PLAIN, number=last)

    def _reject(self, claim: str | None) -> str:
        """Say what is wrong with a value that is not the gold."""
        facts = self.findings.facts
        number = facts[-1].document if facts else 1
        if claim is None:
            return self._say(wording.WRONG_UNNAMED, number=number)
        words = fold(claim)
        if self.findings.is_comparison and any(has(fact.folded, words) for fact in facts):
            return self._say(wording.WRONG_RIVAL, wrong=claim, number=number)
        if has(self.search.asked, words):
            return self._say(wording.WRONG_ECHO, wrong=claim)
        if any(has(fact.folded, words) for fact in facts):
            return self._say(wording.WRONG_LINK, wrong=claim)
        elsewhere = next((fact for fact in self.search.facts if has(fact.folded, words)), None)
        if elsewhere is None and not is_idea(claim):
            return self._say(wording.WRONG_UNNAMED, number=number)
        if elsewhere is None:
            return self._say(wording.WRONG_NOWHERE, wrong=claim)
        title = plain_title(elsewhere.title)
        if has(fold(title), words):
            return self._say(wording.WRONG_TITLE, wrong=claim, subject=self.subject)
        return self._say(wording.WRONG_ELSEWHERE, wrong=claim, number=elsewhere.document, title=title)

    def verify(self) -> str:
        """Hold the result against the question; the last words are the gold."""
        chain = self.findings.chains[0] if self.findings.chains else ()
        if self.findings.is_comparison:
            check = self._say(wording.CHECK_TWO)
        elif len(chain) > 1 and (link := self.search.show_link(chain[-2], chain[-1])) != self.subject:
            check = self._say(wording.CHECK_CHAIN, start=self.subject, link=link)
        else:
            check = self._say(wording.CHECK_FACT, number=chain[0].document if chain else 1)
        conclusion = self._say(wording.CONCLUDE, gold=self.gold.rstrip("."))
        return f"{check} {conclusion}"
