"""The quality gate: why a text cannot become a training row.

A monologue has to end with the gold: in its last paragraph, where it verifies and concludes. One that names the gold on
its way and concludes otherwise, followed by the gold as answer, would teach the very error that this method mends.

Every check is a rule over words, so it can be wrong: `tests/traces/data/` holds traces labelled by hand, and a test
holds precision and recall per reason. What each reason means stands beside it below.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from mbt_lite import prompts
from mbt_lite.records import Completion, PhaseSpan, Question
from mbt_lite.rewards.mentions import contains_words
from mbt_lite.rewards.terms import exact_term, redundancy_term
from mbt_lite.text.completion import OTHER_THINK_OPEN
from mbt_lite.text.normalize import normalize, words
from mbt_lite.text.numbers import number_in, numbers_in
from mbt_lite.text.paragraphs import paragraphs, sentences
from mbt_lite.traces.drafts import parse_draft
from mbt_lite.traces.phase_labels import are_in_order, has_other_labels, phases_by_order

THINK_TAGS = ("<think", "</think")
OTHER_TAGS = ("<answer", "</answer", "<|")
# Headings, lists, code, tables, bold and italic type, formulas. A number with a dot opens a list only if it is short: a
# sentence may end with a year and begin with one. Documents quote ``so'' with two backticks.
MARKDOWN = re.compile(
    r"^\s*(#{1,6} |[-*+•] |\d{1,2}[.)] |```|\|.*\|\s*$)|\*\*|(?<!`)`(?!`)[^`\n]+`(?!`)|\\[a-z]+\{"
    r"|(?<!\w)(?:\*[^*\s][^*\n]*\*|_[^_\s][^_\n]*_)(?!\w)",
    re.MULTILINE,
)
# What only someone who was shown the result would write; "so the correct answer is X" may end anyone's thinking.
REVEALS_ANSWER = re.compile(
    r"\b((given|provided|gold|reference|expected|known|target|intended) answer|solution guide|the guide|answer key"
    r"|gold (label|standard)|ground truth|correct answer(?! (is|be|must be|would be|should be)\b| ?[:?])"
    r"|answer (was|is|has been) (already )?(given|provided|known|stated|supplied)"
    r"|(already|were|are) (told|given|shown) (that )?the answer|already know (that )?the answer"
    r"|(the|these|our) instructions)\b",
    re.IGNORECASE,
)
# What only someone who was shown a draft would write.
REVEALS_DRAFT = re.compile(
    r"\b((the|this|that|our|an|original|earlier|previous|first|given|student'?s?|model'?s?) draft"
    r"|(the|this) (student|smaller model)|rewrit(e|es|ing|ten)"
    r"|(previous|earlier|original) (attempt|answer|response|reasoning|solution))\b",
    re.IGNORECASE,
)
OPPOSITES = {"yes": "no", "no": "yes"}
# A gold that only stands behind one of these has been dropped.
DROPPED = ("not", "rather than", "instead of", "never")
STATED = re.compile(r"\banswer (?:is|was|must be)\b", re.IGNORECASE)
# One thinker who says I, is watched, or tells a reader what to do; and several who say we. Quotations do not count.
SINGULAR = re.compile(
    r"\bI['’](?:m|ll|ve|d)\b|\bI\b(?=,? [a-z])|\b[Ll]et me\b|\b[Mm]y\b(?= [a-z])|\bmyself\b|\b[Yy]ou\b(?= [a-z])"
    r"|\b[Tt]he (?:thinker|reader|user)\b"
)
PLURAL = re.compile(r"\b(?:[Ww]e|[Uu]s|[Oo]urs?|[Oo]urselves|[Ll]et['’]s)\b")
QUOTATION = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”")
LAST_WORD = re.compile(r"[\w'’]+ $")
# One slip in three is forgiven.
MOST_SINGULAR = 1 / 3
# Share of 4-grams that stood before. Five phases name the same things again: up to 0.2 was seen in sound traces.
MOST_REDUNDANT = 0.25
# A short sentence that loops is a small share of the text.
MOST_EQUAL_SENTENCES = 3
# So many words in a row, as our instructions have them, are no coincidence.
COPIED_WORDS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """What the gate asks of one kind of trace.

    `min_phases` of 0 asks for none; `says_we` holds the thinker to the first person plural; `prompt_names` are the
    instruction texts that must not be copied; `controls` names the student's control tokens that a text would become;
    `count_tokens` gives the tokens of the training row of a question, trace
    and answer, at most `max_tokens`; without it length is not checked.
    """

    min_phases: int = 4
    says_we: bool = True
    prompt_names: tuple[str, ...] = ("mbt_r", "mbt_s", "monologue", "solution")
    max_tokens: int = 0
    count_tokens: Callable[[Question, str, str], int] | None = None
    controls: Callable[[str], list[str]] = lambda text: []


def rejection(
    text: str,
    finish_reason: str,
    question: Question,
    rules: Rules | None = None,
    phases: Sequence[PhaseSpan] | None = None,
) -> str | None:
    """Give the first reason to reject a monologue, or None; without rules, those of a five-phase trace.

    `phases` are its spans as `reply.read_reply` found them; without them its paragraphs are taken by their order. yes
    and no are not searched for in the text: a monologue need not say them, but must not end with the other.
    """
    return next(faults(text, finish_reason, question, Rules() if rules is None else rules, phases), None)


def faults(
    text: str, finish_reason: str, question: Question, rules: Rules, phases: Sequence[PhaseSpan] | None = None
) -> Iterator[str]:
    """Give every reason to reject a monologue; a reply that is none has one."""
    broken = unusable(text, finish_reason)
    if broken is not None:
        yield broken
        return
    spans = phases_by_order(text) if phases is None else phases
    checks = {
        **form_faults(text, rules),
        "reveals that the answer was given": reveals(REVEALS_ANSWER, text, question),
        "reveals a draft": reveals(REVEALS_DRAFT, text, question),
        "copies the prompt": copies(text, tuple(prompts.named_for(name, question) for name in rules.prompt_names)),
        "wrong person": rules.says_we and singular_share(text, question) > MOST_SINGULAR,
        "holds labels": has_other_labels(text),
        "fewer phases than asked": len({span.phase for span in spans}) < rules.min_phases,
        "phases out of order": rules.min_phases > 0 and not are_in_order(spans),
        "repeats itself": _loops(text),
        "too long for training": is_too_long(text, question.answer, question, rules),
        "does not reach the gold": not _concludes(text, question),
    }
    yield from (reason for reason, found in checks.items() if found)


def holds(text: str, tags: Iterable[str]) -> bool:
    """Tell whether a text holds one of these tags, however it spells them."""
    return any(tag in text.lower() for tag in tags)


def form_faults(text: str, rules: Rules) -> dict[str, bool]:
    """Tell which faults of form a reply has that may not be in any."""
    return {
        "nested think": holds(text, THINK_TAGS) or OTHER_THINK_OPEN.search(text) is not None,
        "holds tags": holds(text, OTHER_TAGS) or bool(rules.controls(text)),
        "markdown": MARKDOWN.search(text) is not None,
    }


def draft_rejection(draft: Completion, question: Question, rules: Rules) -> str | None:
    """Give the first reason not to train on a draft as it is, or None.

    Style is not judged: a control that keeps only well-styled drafts would be another control.
    """
    if draft.finish_reason != "stop":
        return "truncated"
    parsed = parse_draft(draft.text)
    if parsed.answer is None:
        return "no answer"
    if exact_term(parsed.answer, question.golds) != 1.0:
        return "wrong answer"
    return row_fault(parsed.trace, parsed.answer, question, rules)


def row_fault(
    trace: str | None, answer: str, question: Question, rules: Rules, *, row_trace: str | None = None
) -> str | None:
    """Give the first reason why a draft's trace and answer make no row, right or wrong; or None.

    `row_trace` is what the row says in place of the trace, if that is longer.
    """
    if trace is None or not trace.strip():
        return "no trace"
    row = f"{trace} {answer}"
    if holds(row, THINK_TAGS):
        return "nested think"
    if holds(row, OTHER_TAGS) or rules.controls(row):
        return "holds tags"
    said = trace.strip() if row_trace is None else row_trace
    return "too long for training" if is_too_long(said, answer, question, rules) else None


def unusable(text: str, finish_reason: str) -> str | None:
    """Name what makes a reply no text at all."""
    if finish_reason == "refused":
        return "refused"
    if finish_reason != "stop":
        return "truncated" if finish_reason == "length" else f"finish reason {finish_reason}"
    return None if text.strip() else "empty"


def reveals(pattern: re.Pattern[str], text: str, question: Question) -> bool:
    """Tell whether the text speaks of what only its writer was shown; words of the documents (a player draft) may."""
    shown = _shown(question)
    return any(not contains_words(shown, normalize(match[0])) for match in pattern.finditer(text))


@functools.lru_cache(maxsize=64)
def _shown(question: Question) -> str:
    """Give the normalised words that the student is shown."""
    documents = (f"{document.title} {document.text}" for document in question.documents)
    return normalize(" ".join([question.question, *documents]))


def singular_share(text: str, question: Question) -> float:
    """Give the share, 0..1, of I and you among all who think; 0 without any.

    An I that the documents write after the same word (Elizabeth I) is a name's.
    """
    said, shown = QUOTATION.sub(" ", text), _shown(question)
    singular = 0
    for match in SINGULAR.finditer(said):
        before = LAST_WORD.search(said, 0, match.start())
        name = normalize(f"{before[0] if before else ''}{match[0]}")
        singular += before is None or match[0] != "I" or not contains_words(shown, name)
    plural = len(PLURAL.findall(said))
    return singular / (singular + plural) if singular else 0.0


def copies(text: str, prompt_names: tuple[str, ...]) -> bool:
    """Tell whether a text holds `COPIED_WORDS` words in a row of the instructions."""
    return not _runs(text).isdisjoint(frozenset().union(*map(_prompt_runs, prompt_names)))


@functools.cache
def _prompt_runs(name: str) -> frozenset[tuple[str, ...]]:
    """Give the word runs of a prompt text, line by line: what fills its slots is not ours."""
    return frozenset().union(*map(_runs, prompts.text(name).splitlines()))


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    sequence = words(text)
    return frozenset(tuple(sequence[i : i + COPIED_WORDS]) for i in range(len(sequence) - COPIED_WORDS + 1))


def _loops(text: str) -> bool:
    """Tell whether a text says too much of itself again."""
    said = collections.Counter(map(normalize, sentences(text)))
    return -redundancy_term(text) > MOST_REDUNDANT or max(said.values()) > MOST_EQUAL_SENTENCES


def is_too_long(text: str, answer: str, question: Question, rules: Rules) -> bool:
    """Tell whether the row of a trace and an answer is longer than it may be."""
    return rules.count_tokens is not None and rules.count_tokens(question, text, answer) > rules.max_tokens


def _concludes(text: str, question: Question) -> bool:
    """Tell whether the last paragraph holds the gold: after its last "the answer is", if it says so."""
    gold, conclusion = question.answer, paragraphs(text)[-1]
    wanted = normalize(gold)
    if wanted in OPPOSITES:
        return normalize(conclusion).rpartition(" ")[2] != OPPOSITES[wanted]
    stated = STATED.split(conclusion)[-1]
    if question.answer_rule == "number":
        found = (stated[:start].rstrip() for value, start, _ in numbers_in(stated) if value == number_in(gold))
        return any(not before.endswith(DROPPED) for before in found)
    if not wanted:
        # a gold of articles or signs alone has no normalised words
        return gold.strip() in stated
    kept = f" {normalize(stated)} "
    for dropping in DROPPED:
        kept = kept.replace(f" {dropping} {wanted} ", " ")
    return contains_words(kept.strip(), wanted)
