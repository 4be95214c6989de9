"""Foreseeing one's own rollouts: what a meta completion foretells, and how true that came (MASA, arXiv 2510.03259).

Every function is pure. A question is solved by a group of rollouts; a meta completion foretells the names they go
through (links), how many of 8 end right, and how many tokens they take. Nothing here looks at gold bridges.

Where this differs from the paper: 1. a notion is a link, a name that the solution goes through and the question does
not say; 2. the interval of lengths is widened by a tolerance (0 is the paper's form); 3. `brier` is another law of the
rate.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from mbt_lite.records import Question
from mbt_lite.rewards.mentions import contains_words
from mbt_lite.text.completion import parse_completion
from mbt_lite.text.names import ABBREVIATION, fold, has, plain_title
from mbt_lite.text.normalize import normalize, words

RateLaw = Literal["masa", "brier"]
# the title of a document that has none (layout `plain`)
_MADE_TITLE = re.compile(r"document \d+")
TRIES, MOST_LINKS, SHORTEST_LINK_CHARACTERS = 8, 5, 4
# no completion is that long, and statistics of it stay numbers
_MOST_TOKENS = 10**9


@dataclasses.dataclass(frozen=True, slots=True)
class Forecast:
    """What a meta completion foretells; each part is None where it cannot be read."""

    links: tuple[str, ...] | None = None
    right_of_8: int | None = None
    tokens: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Solved:
    """What came of the rollouts of a question: traces by how they ended, lengths of the right ones, the share right."""

    right: tuple[str, ...]
    wrong: tuple[str, ...]
    right_lengths: tuple[int, ...]

    @property
    def rate(self) -> float:
        """The share of right rollouts."""
        return len(self.right) / (len(self.right) + len(self.wrong))


@dataclasses.dataclass(frozen=True, slots=True)
class Truth:
    """How true a forecast came, each 0..1."""

    links: float
    tokens: float
    rate: float

    @property
    def total(self) -> float:
        """The reward: their mean."""
        return (self.links + self.tokens + self.rate) / 3


@dataclasses.dataclass(frozen=True, slots=True)
class Constant:
    """A predictor that says the same of every question, and what it earns on average."""

    right_of_8: int
    tokens: int
    earned: Truth


def solved(rollouts: Iterable[tuple[str | None, bool, int]]) -> Solved:
    """Sort rollouts: the trace, whether it stopped and is an exact match, tokens; no trace names nothing."""
    done = [(normalize(trace or ""), is_right, tokens) for trace, is_right, tokens in rollouts]
    right, wrong = (tuple(trace for trace, one, _ in done if one is wanted) for wanted in (True, False))
    return Solved(right, wrong, tuple(tokens for _, is_right, tokens in done if is_right))


def read_forecast(text: str, *, prefilled_think: bool = False) -> Forecast:
    """Read a meta completion: one think pair, then one answer pair with exactly one JSON object of the three keys.

    A field of the wrong type or out of range is None; anything else leaves all three None. Nothing is repaired.

    >>> read_forecast('<think>so</think><answer>{"links": ["Ann Lee"], "right_of_8": 9, "tokens": 80}</answer>')
    Forecast(links=('Ann Lee',), right_of_8=None, tokens=80)
    """
    parsed = parse_completion(text, prefilled_think=prefilled_think)
    if not parsed.is_well_formed or parsed.answer is None:
        return Forecast()
    try:
        # a key that is there twice makes the object none
        pairs = json.loads(parsed.answer, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return Forecast()
    if not isinstance(pairs, dict) or pairs.keys() != {"links", "right_of_8", "tokens"}:
        return Forecast()
    links, right, tokens = pairs["links"], pairs["right_of_8"], pairs["tokens"]
    has_links = type(links) is list and 1 <= len(links) <= MOST_LINKS and all(map(_is_text, links))
    return Forecast(
        tuple(links) if has_links else None,
        right if type(right) is int and 0 <= right <= TRIES else None,
        tokens if type(tokens) is int and 0 < tokens <= _MOST_TOKENS else None,
    )


def write_forecast(links: Sequence[str], right_of_8: int, tokens: int) -> str:
    """Write what `read_forecast` reads, as it stands in the answer tags."""
    return json.dumps({"links": list(links), "right_of_8": right_of_8, "tokens": tokens}, ensure_ascii=False)


def links_term(names: Iterable[str] | None, right: Sequence[str], wrong: Sequence[str], question: Question) -> float:
    """Give the mean hit over all distinct names, compared normalised; 0 if there are none.

    A name hits iff it is a `possible_link` of the question and stands in more right traces than wrong ones.
    """
    distinct = {normalize(name): name for name in names or ()}
    traces = [list(map(normalize, some)) for some in (right, wrong)]

    def hits(name: str) -> bool:
        in_right, in_wrong = (sum(contains_words(trace, name) for trace in some) for some in traces)
        return in_right > in_wrong and possible_link(distinct[name], question)

    return sum(map(hits, distinct)) / len(distinct) if distinct else 0.0


def tokens_term(predicted: int | None, right_lengths: Sequence[int], tolerance: float) -> float:
    """Give 1 iff (1 - tolerance) · shortest <= predicted <= (1 + tolerance) · longest right rollout; none right: 0.

    >>> tokens_term(89, [90, 120], 0.0), tokens_term(89, [90, 120], 0.1)
    (0.0, 1.0)
    """
    if predicted is None or not right_lengths:
        return 0.0
    low, high = (1 - tolerance) * min(right_lengths), (1 + tolerance) * max(right_lengths)
    # a bound that is a whole number may come out a little beside it
    return float(low - 1e-9 <= predicted <= high + 1e-9)


def rate_term(predicted: int | None, rate: float, law: RateLaw) -> float:
    """Give 0.01^distance (`masa`) or 1 - distance^2 (`brier`) between predicted / 8 and the rate, 0..1; None: 0.

    The paper's law pays for modes, not means: where the rate is 0 or 1 with equal chance, 0 and 8 earn 0.505, 4 0.1.

    >>> round(rate_term(5, 0.5, "masa"), 6), rate_term(4, 0.5, "masa")
    (0.562341, 1.0)
    """
    if predicted is None:
        return 0.0
    distance = abs(rate - predicted / TRIES)
    return 1 - distance**2 if law == "brier" else float(0.01**distance)


def truth(forecast: Forecast, found: Solved, question: Question, *, tolerance: float, law: RateLaw) -> Truth:
    """Hold a forecast against what came of the question's rollouts."""
    return Truth(
        links_term(forecast.links, found.right, found.wrong, question),
        tokens_term(forecast.tokens, found.right_lengths, tolerance),
        rate_term(forecast.right_of_8, found.rate, law),
    )


def best_constant(questions: Sequence[tuple[Question, Solved]], *, tolerance: float, law: RateLaw) -> Constant:
    """Give the best predictor that says the same of every question, chosen knowing how they end.

    Its links are all titles that can be links, up to five: naming a few names of its own would earn 0. Needs at least
    one question.
    """
    found = [one for _, one in questions]

    def mean(values: Iterable[float]) -> float:
        return math.fsum(values) / len(found)

    # most intervals hold the lower end of one of them
    ends = {max(1, math.ceil((1 - tolerance) * min(one.right_lengths) - 1e-9)) for one in found if one.right_lengths}
    tokens = max(
        sorted(ends) or [1], key=lambda end: mean(tokens_term(end, one.right_lengths, tolerance) for one in found)
    )
    right = max(range(TRIES + 1), key=lambda guess: mean(rate_term(guess, one.rate, law) for one in found))
    earned = Truth(
        mean(links_term(titles(question), one.right, one.wrong, question) for question, one in questions),
        mean(tokens_term(tokens, one.right_lengths, tolerance) for one in found),
        mean(rate_term(right, one.rate, law) for one in found),
    )
    return Constant(right, tokens, earned)


def titles(question: Question) -> tuple[str, ...]:
    """Give the titles of documents that can be links, without brackets, in their order, at most five."""
    named = dict.fromkeys(plain_title(document.title) for document in question.documents)
    return tuple(name for name in named if possible_link(name, question))[:MOST_LINKS]


@functools.lru_cache(maxsize=4096)
def possible_link(name: str, question: Question) -> bool:
    """Tell whether a name can be a link: long enough, not in the question, no gold in it, a name in the documents.

    Question and golds do not hide behind a possessive or an accent. In the documents it has to stand as whole words: as
    a title (but for its brackets), or within a sentence from a capital or digit to a capital or digit, one of them not
    the sentence's first.
    """
    for read in (fold, normalize):
        said = read(name)
        if has(read(question.question), said) or any(has(said, read(gold)) for gold in question.golds):
            return False
    name = normalize(name)
    if len(name) < SHORTEST_LINK_CHARACTERS or _MADE_TITLE.fullmatch(name):
        return False
    if any(name in (normalize(one.title), normalize(plain_title(one.title))) for one in question.documents):
        return True
    return any(_is_spelled_as_name(name.split(), text) for text in _texts(question))


# A word of a document: normalised, whether a capital or digit opens it, whether a sentence begins with it.
_Word = tuple[str, bool, bool]


@functools.lru_cache(maxsize=64)
def _texts(question: Question) -> tuple[tuple[_Word, ...], ...]:
    return tuple(tuple(_words(text)) for one in question.documents for text in (one.title, one.text))


def _words(text: str) -> Iterable[_Word]:
    begins = True
    for spelled in text.split():
        letters = spelled.lstrip("\"'“‘«([{-–—")
        for word in words(spelled):
            yield word, letters[:1].isupper() or letters[:1].isdigit(), begins
        # a mark that stands alone opens or ends nothing
        if letters:
            ended = spelled.rstrip("\"'”’»)]}")
            begins = ended.endswith((".", "!", "?")) and ABBREVIATION.search(ended) is None


def _is_spelled_as_name(name: Sequence[str], text: Sequence[_Word]) -> bool:
    first, size = name[0], len(name)
    for start in range(len(text) - size + 1):
        if text[start][0] == first and [word for word, _, _ in text[start : start + size]] == list(name):
            place = text[start : start + size]
            within = not any(begins for _, _, begins in place[1:])
            if within and place[0][1] and place[-1][1] and (size > 1 or not place[0][2]):
                return True
    return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _is_text(value: Any) -> bool:
    """Tell whether a value is text, whole characters only: JSON can write half of one."""
    return type(value) is str and not any("\ud800" <= character <= "\udfff" for character in value)


def median_tokens(forecasts: Iterable[Forecast]) -> float | None:
    """Give the median of the tokens foretold; None where none are."""
    told = [one.tokens for one in forecasts if one.tokens is not None]
    return statistics.median(told) if told else None
