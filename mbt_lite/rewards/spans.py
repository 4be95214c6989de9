"""Confidence on steps: what a trace found on its way, which of it is right, and what being sure of it earns.

A span is the VALUE of a result line (`text/result_lines.py`) of the completion. Of m spans with confidence c and truth
y (VALUE is one of the b bridges of the question) the term is

    C = (sum of S(c, y) - max(0, b - m)) / max(m, b),    S(c, y) = 2 c y - c^2;    b = 0: C = 0

so a span that is missing counts as the least that one can earn. The idea is CCRL's (arXiv 2601.21909), whose formula is
not public: this one is ours. S is y - (y - c)^2, the reward that RLCR (arXiv 2507.16806) puts on whole answers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

from mbt_lite.records import Question
from mbt_lite.text.completion import parse_completion, trace_span
from mbt_lite.text.names import fold, has, plain_title
from mbt_lite.text.normalize import normalize
from mbt_lite.text.result_lines import StepLine, read_steps
from mbt_lite.text.token_places import Decode, token_places

SpanLaw = Literal["proper", "linear"]
# A span's confidence, and whether it is right.
Scored = tuple[float, bool]


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """What a step found: the characters from `start` up to but not including `end` of the completion.

    `stated` is how sure its line says it is, in per cent; None if it does not.
    """

    value: str
    start: int
    end: int
    stated: int | None


def find_spans(text: str, question: Question, answer: str | None, *, prefilled_think: bool = False) -> list[Span]:
    """Find the spans of a completion, whose own answer is `answer`, in the order in which they are first said.

    They are result lines after the plan's first line (all of them without a plan), the last of each number. Left out is
    a VALUE that the question says, that is the answer or a gold, or that another step has, in whatever form of a
    bridge. A VALUE stands where it was said first: what is copied from an earlier line is certain, right or not.
    """
    place = trace_span(text, prefilled_think=prefilled_think)
    if place is None:
        return []
    forms = {form: min(bridge) for bridge in find_bridges(question) for form in bridge}

    def named(value: str) -> str:
        return forms.get(normalize(value), normalize(value))

    lines = _executed(read_steps(text[slice(*place)]))
    first = {named(line.value): line for line in reversed(lines)}
    last = {named(line.value): line for line in reversed({line.number: line for line in lines}.values())}
    ends = {named(one) for one in (*question.accepted, answer or "")}
    found = [
        Span(said.value, place[0] + said.start, place[0] + said.end, last[value].stated)
        for value, said in first.items()
        if value in last and value not in ends and not _is_given(said.value, question)
    ]
    return sorted(found, key=lambda span: span.start)


def _executed(steps: Sequence[StepLine]) -> list[StepLine]:
    plan = next((place for place, line in enumerate(steps) if line.is_plan), 0)
    return [line for line in steps[plan:] if not line.is_plan]


def _is_given(value: str, question: Question) -> bool:
    """Tell whether the question says it; a possessive or an accent hides nothing."""
    return not normalize(value) or any(has(read(question.question), read(value)) for read in (fold, normalize))


def find_bridges(question: Question) -> list[frozenset[str]]:
    """Give the normalised forms of each bridge that can be a span: neither in the question nor a gold."""
    golds = set(map(normalize, question.accepted))
    spelled = [(one, plain_title(one)) if question.bridges_are_titles else (one,) for one in question.bridges]
    unsaid = [names for names in spelled if not any(_is_given(name, question) for name in names)]
    return [one for one in dict.fromkeys(frozenset(map(normalize, names)) for names in unsaid) if not one & golds]


def is_right(span: Span, bridges: Sequence[frozenset[str]]) -> bool:
    """Tell whether a span names a bridge, whole and nothing else."""
    return any(normalize(span.value) in forms for forms in bridges)


def score_spans(
    text: str, question: Question, sure_of: Callable[[Span], float], *, prefilled_think: bool = False
) -> list[Scored]:
    """Give confidence, by `sure_of`, and truth of each span of a completion; [] where the question has no bridges."""
    bridges = find_bridges(question)
    if not bridges:
        return []
    answer = parse_completion(text, prefilled_think=prefilled_think).answer
    spans = find_spans(text, question, answer, prefilled_think=prefilled_think)
    return [(sure_of(span), is_right(span, bridges)) for span in spans]


def stated_confidence(span: Span) -> float:
    """Give what its line states, 0..1; a step that states nothing counts as certain."""
    return 1.0 if span.stated is None else span.stated / 100


def token_confidence(span: Span, ids: Sequence[int], log_probs: Sequence[float], decode: Decode) -> float:
    """Give exp(mean log-probability) of the tokens that wrote a span: a product would punish long names."""
    places = token_places(ids, decode, span.start, span.end)
    # rounding may lift a certain token above 0; what is no number stays none
    return min(math.exp(math.fsum(log_probs[place] for place in places) / len(places)), 1.0)


def span_score(confidence: float, right: bool, law: SpanLaw = "proper") -> float:
    """Give what a span earns, -1..1.

    `proper`: right on average in p of the cases, it earns most, p^2, by being sure by p. `linear`: c if right, else -c,
    which is best at 0 or 1 only; for an ablation.

    >>> span_score(0.5, True), span_score(0.5, False)
    (0.75, -0.25)
    """
    if law == "linear":
        return confidence if right else -confidence
    return 2 * confidence * right - confidence**2


def confidence_term(scored: Sequence[Scored], bridges: int, law: SpanLaw = "proper") -> float:
    """Give C, -1..1, of a completion's spans; 0 for a question without bridges.

    >>> round(confidence_term([(0.9, True), (0.8, False)], 2), 6)
    0.175
    """
    if not bridges:
        return 0.0
    earned = math.fsum(span_score(confidence, right, law) for confidence, right in scored)
    return (earned - max(0, bridges - len(scored))) / max(len(scored), bridges)
