"""The embedded teacher's reading and routing: from the text of one of our requests to a guide or a monologue, by rule.

It reads what any teacher reads, the sections of the prompt texts (documents, question, correct answer, draft), and no
hidden field. Asked what the student is asked, it sees no answer either: it follows the best chain of facts to a name
or a year, or says that it guesses. What it cannot do: infer what no sentence says. Its traces teach the form of
steering to a tiny model; a real teacher writes better.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random
import re
from collections.abc import Sequence

from mbt_lite import prompts
from mbt_lite.scripted import closed_book, wording
from mbt_lite.scripted.evidence import YES_NO, Findings, Search
from mbt_lite.scripted.judge import write_verdict
from mbt_lite.scripted.monologue import Monologue, quote
from mbt_lite.scripted.plan import write_plan
from mbt_lite.text.names import fold, has, plain_title, read_names

_TASKS = ("solution", "mbt_s", "mbt_r", "distill_r", "comt")
_SECTION = re.compile(r"^=== ([a-z ]+) ===$", re.MULTILINE)
_SLOT_ENDS = re.compile(r"\{\{\w+\}\}")
_YEAR = re.compile(r"\b(?:1\d{3}|20\d{2})\b")
_DOCUMENT = re.compile(r"^\[\d+\] (.*?): (.*)$")


class UnreadableRequestError(Exception):
    """A chat that is not one of our teacher requests."""


@dataclasses.dataclass(frozen=True, slots=True)
class Brief:
    """What a request says; documents are (title, text), none where the question is asked closed-book.

    `gold` is empty where `task` is student or comt; `draft` is None unless it is mbt_r or distill_r.
    """

    task: str
    documents: tuple[tuple[str, str], ...]
    question: str
    gold: str
    draft: str | None


def write_reply(contents: Sequence[str], seed: int) -> str:
    """Write the reply to a chat, given the contents of its user messages in order.

    The same contents and seed give the same reply. Raises UnreadableRequestError for a chat that is not ours.
    """
    verdict = write_verdict(contents[-1]) if contents else None
    if verdict is not None:
        return verdict
    brief = read_brief(contents)
    # not the whole request: another wording of a prompt shall not change what is written
    dice = random.Random(f"{seed}\0{brief}")
    if brief.task == "comt":
        return write_plan(brief.question)
    if not brief.documents:
        return closed_book.write(brief.task, brief.question, brief.gold, brief.draft, dice)
    search, findings = _investigate(brief.documents, brief.question, brief.gold)
    if brief.task == "student":
        return write_answer(search, findings)
    if brief.gold.lower() not in YES_NO and not any(has(fact.folded, search.gold) for fact in search.facts):
        return wording.UNSUPPORTED
    if brief.task == "solution":
        return write_guide(search, findings)
    if brief.task == "distill_r":
        return write_plain(findings, wording.PLAIN_CONCLUDE.format(answer=brief.gold.rstrip(".")))
    return Monologue(search, findings, brief.gold, brief.draft, dice).write()


@functools.lru_cache(maxsize=512)
def _investigate(documents: tuple[tuple[str, str], ...], question: str, gold: str) -> tuple[Search, Findings]:
    """Search once for the requests that share a question."""
    search = Search(documents, question, gold)
    return search, search.run()


def read_brief(contents: Sequence[str]) -> Brief:
    """Read a chat: the task is the opening line of the last user message, sections may stand in earlier ones.

    The student prompt has no such line, it is known by its last one.
    """
    if contents and (asked := _read_student_prompt(contents[-1])) is not None:
        return asked
    openings = {prompts.text(name).partition("\n")[0]: name for name in _TASKS}
    task = openings.get(contents[-1].partition("\n")[0]) if contents else None
    if task is None:
        raise UnreadableRequestError(f"the last user message opens with none of: {'; '.join(openings)}")
    sections: dict[str, str] = {}
    for content in contents:
        sections |= read_sections(content)
    rewrites = task in ("mbt_r", "distill_r")
    wanted = ("question", *(() if task == "comt" else ("correct answer",)), *(("draft",) if rewrites else ()))
    if missing := [name for name in wanted if name not in sections]:
        raise UnreadableRequestError(f"no section {', '.join(missing)}")
    draft = sections["draft"] if rewrites else None
    documents = _read_documents(sections["documents"]) if "documents" in sections else ()
    gold = "" if task == "comt" else sections["correct answer"]
    return Brief(task, documents, sections["question"], gold, draft)


def _read_student_prompt(content: str) -> Brief | None:
    """Read documents and question of the student prompt; None if it is another message."""
    _, before, after = _SLOT_ENDS.split(prompts.text("student"))
    if not content.endswith(after):
        return None
    before_closed, _ = _SLOT_ENDS.split(prompts.text("student_closed"))
    if content.startswith(before_closed):
        return Brief("student", (), content.removeprefix(before_closed).removesuffix(after), "", None)
    documents, mark, question = content.removesuffix(after).rpartition(before)
    return Brief("student", _read_documents(documents), question, "", None) if mark else None


def _read_documents(lines: str) -> tuple[tuple[str, str], ...]:
    matches = (_DOCUMENT.match(line) for line in lines.splitlines())
    documents = tuple((match[1], match[2]) for match in matches if match)
    if not documents:
        raise UnreadableRequestError("the section documents holds no line such as `[1] Title: text`")
    return documents


def read_sections(content: str) -> dict[str, str]:
    r"""Split a message at its `=== name ===` lines.

    The draft comes last and may hold anything, such lines too: it ends at the last line of the message.

    >>> read_sections("Hm.\n=== question ===\nWhy?\n=== draft ===\nA\n=== end ===\nB\n=== end ===")
    {'question': 'Why?', 'draft': 'A\n=== end ===\nB'}
    """
    head, mark, draft = content.partition("\n=== draft ===\n")
    parts = _SECTION.split(head)
    sections = {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True) if name != "end"}
    if mark:
        sections["draft"] = draft.rpartition("\n=== end ===")[0].strip()
    return sections


def write_guide(search: Search, findings: Findings) -> str:
    """Write the solution guide: key facts, steps, pitfalls."""
    facts = [
        wording.GUIDE_FACT.format(
            number=fact.document, title=plain_title(fact.title), fact=quote(fact.text, fact.names)
        )
        for fact in findings.facts
    ]
    steps: list[str] = []
    for first, second in (pair for chain in findings.chains for pair in itertools.pairwise(chain)):
        link = search.show_link(first, second)
        step = wording.GUIDE_STEP.format(index=len(steps) + 1, link=link, first=first.document, second=second.document)
        steps.append(step)
    used = {fact.document for fact in findings.facts}
    others = [plain_title(title) for number, (title, _) in enumerate(search.documents, 1) if number not in used]
    pitfalls = [wording.GUIDE_PITFALL.format(title=title, subject=findings.subjects[0]) for title in others[:2]]
    parts = {
        "Key facts": facts or [wording.GUIDE_NO_FACT],
        "Steps": steps or [wording.GUIDE_ONE_STEP],
        "Pitfalls": pitfalls or [wording.GUIDE_NO_PITFALL],
    }
    return "\n\n".join(f"{name}: {' '.join(lines)}" for name, lines in parts.items())


def write_plain(findings: Findings, conclusion: str) -> str:
    """Write the facts one after the other, then a conclusion: no phases, no thinker."""
    steps = [
        wording.PLAIN_STEP.format(
            number=fact.document, title=plain_title(fact.title), fact=quote(fact.text, [fold(plain_title(fact.title))])
        )
        for fact in findings.facts
    ]
    return "\n\n".join([" ".join(steps or [wording.PLAIN_NO_STEP]), conclusion])


def write_answer(search: Search, findings: Findings) -> str:
    """Answer as the student is asked to, without having seen the answer: by rule, or with an admitted guess."""
    answer, is_guess = guess_answer(search, findings)
    conclusion = (wording.GUESS if is_guess else wording.PLAIN_CONCLUDE).format(answer=answer)
    return prompts.completion_text(write_plain(findings, conclusion), answer)


def guess_answer(search: Search, findings: Findings) -> tuple[str, bool]:
    """Give the year, or the last name in the last fact, that the question does not hold; and whether it is a guess.

    Of two compared things the first is a guess; so is the title where no fact names anything new.
    """
    if findings.is_comparison or not findings.facts:
        return findings.subjects[0], True
    last = findings.facts[-1]
    years = _YEAR.findall(last.text)
    if years and re.match(r"(?:when|(?:in )?what year)\b", search.question, re.IGNORECASE):
        return years[0], False
    names = [name for name in read_names(last.text) if not has(search.asked, fold(name))]
    new = [name for name in names if fold(name) != fold(plain_title(last.title))]
    return (new[-1], False) if new else (plain_title(last.title), True)
