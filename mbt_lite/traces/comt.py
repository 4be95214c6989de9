"""Plans over letters, and their gate (chain of meta-thought, arXiv 2601.21909).

No code and no example of the paper could be found: the form of a plan, the gate and the executed rows (`executed`) are
ours. A plan has lines of `text.result_lines` whose values are letters, each set once and used by a later line, and
`answer` in the last. It says what is looked for, never what was found.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Sequence

from mbt_lite import prompts
from mbt_lite.records import Message, PhaseSpan, Question
from mbt_lite.text.names import OPENERS, fold, has, plain_title, read_names
from mbt_lite.text.result_lines import read_steps
from mbt_lite.traces.checks import OPPOSITES, REVEALS_ANSWER, Rules, copies, form_faults, is_too_long, reveals, unusable

PLAN = "Plan:\n"
# "Plan:", "Here are the steps:"
_HEADING = re.compile(r"\A[^\n>→]*:[ \t]*\n+")
_LABEL = re.compile(r"(?:step\s*)?(\d{1,2})\s*[:.)–—-]\s*(?=\S)", re.IGNORECASE)
_ARROW = re.compile(r"\s*(?:[-–—=]+>|→|⟶)\s*")
_VALUE = re.compile(r"[\s\"'“”‘’`*(\[]*(?:([A-Z])|(?i:(?:the |final )*answer))[\s\"'“”‘’`*)\].]*")
_POSSESSIVE = re.compile(r"['’]s\b")
_SMALL = OPENERS - {"a", "i"}
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# not in a word, an initial or a short form; a possessive is a use
_LETTER = re.compile(r"(?<![\w.&/-])(?<!\w['’])[A-Z](?![\w&/-]|\.\w|['’](?!s\b)\w)")
# what turns a country into its people, and the like
_ENDINGS = frozenset(["s", "es", "n", "an", "ian", "ese", "i", "ish"])
_LOWER = re.compile(r"(?<![\w'’-])[a-zà-öø-ÿ][\w'’-]*")


def comt_request(question: Question, *_: object) -> tuple[Message, ...]:
    """Ask for a plan; the gold is not shown."""
    hops = "several" if question.hops is None else str(question.hops)
    return (
        {
            "role": "user",
            "content": prompts.render(prompts.named_for("comt", question), hops=hops, **prompts.shown(question)),
        },
    )


def open_completion(plan: str, answer: str) -> str:
    """Give what an open row trains: the plan alone, up to where its steps are taken."""
    return f"<think>\n{PLAN}{plan}\n\n"


def plain_plan(text: str) -> str:
    r"""Write the lines of a plan as the grammar has them, where no more than their signs differ; other lines stay.

    A heading goes. Lines whose numbers were list marks, which are gone by now, are numbered again.

    >>> plain_plan("The plan:\n1) the mayor of Lindale => [A]\n2) when A was born → Answer.")
    'Step 1: the mayor of Lindale -> A\nStep 2: when A was born -> answer'
    """
    lines = [line.strip() for line in _HEADING.sub("", text.strip()).splitlines() if line.strip()]
    is_numbered = any(_LABEL.match(line) for line in lines)
    return "\n".join(_plain_line(line, None if is_numbered else number) for number, line in enumerate(lines, 1))


def _plain_line(line: str, number: int | None) -> str:
    label = _LABEL.match(line)
    step = int(label[1]) if label else number
    parts = _ARROW.split(line[label.end() :] if label else line)
    value = _VALUE.fullmatch(parts[-1])
    if step is None or len(parts) != 2 or value is None:
        return line
    return f"Step {step}: {parts[0].strip()} -> {value[1] or 'answer'}"


def plan_rejection(
    text: str, finish_reason: str, question: Question, rules: Rules, phases: Sequence[PhaseSpan] | None = None
) -> str | None:
    """Give the first reason not to train on a plan, as `plain_plan` writes it, or None."""
    return next(plan_faults(text, finish_reason, question, rules), None)


def plan_faults(text: str, finish_reason: str, question: Question, rules: Rules) -> Iterator[str]:
    """Give every reason to reject a plan; a reply that is none has one."""
    broken = unusable(text, finish_reason)
    if broken is not None:
        yield broken
        return
    said = [step.what for step in read_steps(text)] or [text]
    checks = {
        **form_faults(text, rules),
        "copies the prompt": copies(text, (prompts.named_for("comt", question),)),
        "reveals that the answer was given": reveals(REVEALS_ANSWER, text, question),
        "not steps": not _are_steps(text, question),
        "repeats itself": len(set(map(_content, said))) < len(said),
        "holds a number": any(sign in what for sign in "=<>" for what in said)
        or not _numbers(said) <= _numbers([question.question]),
        "reaches the gold": _says(said, question.accepted, question) or _chooses(said[-1], question),
        "names a fact": _says(said, question.bridges, question) or any(_names_fact(what, question) for what in said),
        "too long for training": is_too_long(text, question.answer, question, rules),
    }
    yield from (reason for reason, found in checks.items() if found)


def _are_steps(text: str, question: Question) -> bool:
    """Tell whether a text is a plan and nothing else: from the question, by letters, to the answer.

    Each step looks for something: a name of the question alone is no step.
    """
    steps = read_steps(text)
    if len(steps) != len(text.splitlines()) or len(steps) < 2:
        return False
    *letters, last = [step.value for step in steps]
    is_whole = (
        all(step.is_plan and step.stated is None for step in steps)
        and [step.number for step in steps] == list(range(1, len(steps) + 1))
        and last == "answer"
        and "answer" not in letters
        and len(set(letters)) == len(letters)
    )
    known, used_by = set[str](), list[set[str]]()
    for step in steps:
        used_by.append({letter[0] for letter in letters_in(step.what, question, known)})
        is_whole = is_whole and used_by[-1] <= known
        known.add(step.value)
    names = {word.lower() for name in read_names(question.question) for word in name.split()}
    contents = [{word for word in _content(step.what) if len(word) > 1} for step in steps]
    sought = [words if uses else words - names for words, uses in zip(contents, used_by, strict=True)]
    words = {word for step in steps for word in fold(step.what).split() if len(word) > 3}
    asked = fold(question.question).split()
    # some languages write no spaces
    is_of_question = len(asked) < 3 or not words.isdisjoint(asked)
    return is_whole and set().union(*used_by) == set(letters) and all(sought) and is_of_question


def _content(what: str) -> frozenset[str]:
    """Give what a step is about: the mayor of A, and A's mayor, are about the same."""
    words = frozenset(re.findall(r"\w+", _POSSESSIVE.sub("", what)))
    return frozenset(word if len(word) == 1 else word.lower() for word in words if word.lower() not in _SMALL)


def letters_in(what: str, question: Question, known: Iterable[str]) -> list[re.Match[str]]:
    """Find the letters that stand for what a step found; not those of the question (Vitamin C, A Tale of, E. B. White).

    An A that opens the line is an article while no step has set it.
    """
    found = []
    for letter in _LETTER.finditer(what):
        before, after = re.search(r"(\w{3,}) $", what[: letter.start()]), re.match(r"\.? \w+", what[letter.end() :])
        names = [f"{before[1]} {letter[0]}"] if before and before[1].lower() not in OPENERS else []
        names += [letter[0] + after[0]] if after else []
        is_name = any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", question.question) for name in names)
        is_article = letter[0] == "A" not in known and re.match(r"A [a-z]", what[letter.start() :]) is not None
        if not is_name and not (is_article and letter.start() == 0):
            found.append(letter)
    return found


def _numbers(texts: Iterable[str]) -> set[str]:
    return {number for text in texts for number in _NUMBER.findall(text)}


def _says(said: Sequence[str], values: Iterable[str], question: Question) -> bool:
    """Tell whether a plan says one of some values that the question does not say."""
    asked = fold(question.question)
    wanted = [value for value in map(fold, values) if value not in OPPOSITES and not has(asked, value)]
    return any(has(fold(what), value) for what in said for value in wanted)


def _chooses(last: str, question: Question) -> bool:
    """Tell whether the last step says which it is, where the question names both: yes or no, or the sides compared."""
    asked, said, golds = fold(question.question), fold(last), list(map(fold, question.accepted))
    sides = [side for side in map(fold, read_names(question.question)) if not any(has(side, gold) for gold in golds)]
    is_open = not has(asked, "or") or has(said, "or") or any(has(said, side) for side in sides)
    return any(
        gold in said.split()[:1] + said.split()[-1:] and not has(said, OPPOSITES[gold])
        if gold in OPPOSITES
        else has(asked, gold) and has(said, gold) and not is_open
        for gold in golds
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Shown:
    """The folded words of a question; those that anything shown has as common words; names; titles outside of it."""

    asked: frozenset[str]
    common: frozenset[str]
    names: frozenset[str]
    titles: tuple[str, ...]


@functools.lru_cache(maxsize=64)
def _shown(question: Question) -> _Shown:
    asked, texts = fold(question.question), [document.text for document in question.documents]
    titles = [plain_title(document.title) for document in question.documents]
    named = [name for text in (*texts, *titles) for name in read_names(text)]
    lower = (word for text in (question.question, *texts) for word in _LOWER.findall(text))
    return _Shown(
        _words([question.question]),
        _words(lower),
        _words(named),
        tuple(title for title in titles if " " in title and title.istitle() and not has(asked, fold(title))),
    )


def _words(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(word for text in texts for word in fold(re.sub("[-–/]", " ", text)).split())


def _names_fact(what: str, question: Question) -> bool:
    """Tell whether a step names somebody or something that the question does not name.

    A capitalised word names something unless the question has it, or anything shown has it as a common word too. The
    first word of a line may be capitalised for its place: it names something only if the documents have it as a name.
    """
    shown = _shown(question)
    said = fold(what)
    if any(has(said, fold(one)) and (one in what or not _words([one]) <= shown.common) for one in shown.titles):
        return True
    for name in read_names(what):
        capital = [word for word in name.replace("-", " ").split() if word[0].isupper()]
        words = [word for word in fold(" ".join(capital)).split() if len(word) > 1]
        if words and what.startswith(name) and words[0] not in shown.names:
            words = words[1:]
        if any(word not in shown.common and not _is_asked(word, shown.asked) for word in words):
            return True
    return False


def _is_asked(word: str, asked: frozenset[str]) -> bool:
    """Tell whether the question has a word, maybe in another form: American for America."""
    return word in asked or any(
        longer.startswith(shorter) and longer.removeprefix(shorter) in _ENDINGS
        for other in asked
        for shorter, longer in [sorted((word, other), key=len)]
        if len(shorter) > 3
    )
