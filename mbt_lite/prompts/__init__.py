"""Prompt texts: one prose file each, and the only code that fills them in.

| file | who reads it | slots |
|---|---|---|
| student.txt | the student, everywhere (gen, sft, grpo, eval) | documents, question |
| student_steps.txt, student_confidence.txt | the same, where `data` has `ask_for` | documents, question |
| meta.txt | the student, asked to foresee its own tries (method `masa`) | documents, question |
| metacognitive.txt | the student as system prompt, variant `metacognitive` | |
| solution.txt | the teacher: a guide to one question | documents, question, answer |
| mbt_s.txt | the teacher: a five-phase monologue from scratch | monologue, documents, question, answer |
| mbt_r.txt | the teacher, after its own guide: rewrite a draft | monologue, question, answer, draft |
| monologue.txt | part of the two above: the five phases, their labels and style | words |
| comt.txt | the teacher: a plan over letters, which takes none of its steps | hops, documents, question |
| distill_r.txt | the teacher, after its own guide: rewrite a draft plainly | question, answer, draft, words |
| judge_accuracy.txt | the judge: is an answer right | question, answers, given |
| judge_hit.txt | the judge: does a trace reach a right answer anywhere | question, answers, evidence, trace |
| judge_overthinking.txt, judge_underthinking.txt | the judge: the useful beginning of a trace | the same |
| judge_metacognition.txt | the judge: how a trace steers itself, 0 to 5 | question, trace |
| judge_reach.txt | the judge: first derivation and redundant paragraphs | question, answers, evidence, trace, count |
| judge_quality.txt | the judge: phases and level, told the difficulty | question, tier, evidence, trace |

Source: the method of arXiv 2602.22508 (five phases, MBT-S, MBT-R). Where we differ:

1. all wording is our own;
2. the student prompt is one short user message that asks for the think tags too: small students have no template
   for thinking.

A question without documents is asked closed-book, by the texts whose names end in `_closed`: they speak of steps and
of what is known where the others speak of documents.

A slot is `{{name}}`. Values go in verbatim and are never searched for slots, so braces and dollars in a document
survive. Data sections stand between `=== name ===` lines; documents and questions are put on one line each, so that no
document can open or close a section.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files

from mbt_lite.errors import DataError
from mbt_lite.records import Document, Message, Question

JUDGE_NAMES = (
    "judge_accuracy", "judge_hit", "judge_overthinking", "judge_underthinking", "judge_metacognition", "judge_reach",
    "judge_quality",
)  # fmt: skip
NAMES = tuple(
    sorted(file.name.removesuffix(".txt") for file in files(__name__).iterdir() if file.name.endswith(".txt"))
)

_SLOT = re.compile(r"\{\{([^{}]*)\}\}")


@cache
def text(name: str) -> str:
    """Give a prompt text with its slots open."""
    assert name in NAMES, name
    return files(__package__).joinpath(f"{name}.txt").read_text(encoding="utf-8").strip()


def fill(template: str, slots: dict[str, str], where: str) -> str:
    """Fill every slot of a template; `where` names it in the error.

    Raises DataError unless the slots of the template are exactly those given.

    >>> fill("Q: {{question}}", {"question": "{{why}} $5?"}, "example")
    'Q: {{why}} $5?'
    """
    wanted = set(_SLOT.findall(template))
    unknown, missing = sorted(wanted - slots.keys()), sorted(slots.keys() - wanted)
    if unknown or missing:
        raise DataError(
            f"{where}: slots do not fit (unknown {unknown}, missing {missing}); "
            f"the text must use exactly {', '.join(f'{{{{{name}}}}}' for name in sorted(slots)) or 'no slot'}"
        )
    return _SLOT.sub(lambda match: slots[match[1]], template)


def render(name: str, **slots: str) -> str:
    """Fill a prompt text; DataError names its file if slots are missing or unknown."""
    return fill(text(name), slots, f"prompts/{name}.txt")


def version(*names: str) -> str:
    """Give a short hash of prompt texts (of all, if none is named): it changes iff one of them changes."""
    digest = hashlib.sha256()
    for name in sorted(names or NAMES):
        digest.update(f"{name}\0{text(name)}\0".encode())
    return digest.hexdigest()[:12]


def one_line(value: str) -> str:
    """Join the lines of a text with single spaces."""
    return " ".join(value.split())


def number_documents(documents: Sequence[Document]) -> str:
    """Write documents as the prompts show them: `[1] Title: text`, one a line."""
    return "\n".join(
        f"[{number}] {one_line(document.title)}: {one_line(document.text)}"
        for number, document in enumerate(documents, 1)
    )


def named_for(name: str, question: Question) -> str:
    """Give the name of a prompt text: of what is asked for, and closed-book for a question without documents."""
    if name == "student" and question.ask_for != "answer":
        name = f"student_{question.ask_for}"
    closed = f"{name}_closed"
    return closed if not question.documents and closed in NAMES else name


def version_for(names: Iterable[str], question: Question) -> str:
    """Give the version of the texts by which a question is asked."""
    return version(*(named_for(name, question) for name in names))


def shown(question: Question) -> dict[str, str]:
    """Give the slots of a text that shows a question: without documents it has none for them."""
    slots = {"question": one_line(question.question)}
    return slots if not question.documents else {"documents": number_documents(question.documents), **slots}


def student_messages(question: Question, *, metacognitive: bool = False) -> list[Message]:
    """Give the prompt that the student sees; `metacognitive` puts the five-phase system prompt first."""
    request = render(named_for("student", question), **shown(question))
    messages: list[Message] = [{"role": "user", "content": request}]
    return [metacognitive_message(question), *messages] if metacognitive else messages


def meta_messages(question: Question, *, metacognitive: bool = False) -> list[Message]:
    """Give the prompt by which the student foresees its tries: the same documents and question in the same order."""
    request = render(named_for("meta", question), **shown(question))
    messages: list[Message] = [{"role": "user", "content": request}]
    return [metacognitive_message(question), *messages] if metacognitive else messages


def metacognitive_message(question: Question | None = None) -> Message:
    """Give the five-phase system prompt, that of questions with documents if none is named."""
    name = "metacognitive" if question is None else named_for("metacognitive", question)
    return {"role": "system", "content": render(name)}


def completion_text(trace: str, answer: str) -> str:
    """Give the completion that the student learns: the trace in think tags, then the answer in answer tags."""
    return f"<think>\n{trace}\n</think>\n\n<answer>{answer}</answer>"
