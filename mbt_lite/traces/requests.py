"""What several kinds of traces ask for: a draft, a guide to a question, the rewriting of a draft after the guide.

Source: the data construction of arXiv 2602.22508. A rewriting is a chat of three turns: the request for a solution
guide, the guide, the request to rewrite a draft.
"""

from __future__ import annotations

from mbt_lite import prompts
from mbt_lite.records import Completion, Message, Question, Solution


def student_request(question: Question) -> tuple[Message, ...]:
    """Ask what the student is asked, whoever answers."""
    return tuple(prompts.student_messages(question))


def solution_request(question: Question) -> tuple[Message, ...]:
    """Ask for a solution guide."""
    return (
        {
            "role": "user",
            "content": prompts.render(prompts.named_for("solution", question), **shown_with_gold(question)),
        },
    )


def rewriting_request(
    question: Question, draft: Completion | None, guide: Solution | None, prompt: str, **slots: str
) -> tuple[Message, ...]:
    """Ask to rewrite a draft, after the guide; `slots` are what the prompt text has besides question and draft."""
    assert draft is not None, question.question_id
    assert guide is not None, question.question_id
    assert draft.question_id == guide.question_id == question.question_id, (draft, guide)
    request = prompts.render(
        prompts.named_for(prompt, question),
        question=prompts.one_line(question.question),
        answer=prompts.one_line(question.answer),
        draft=draft.text,
        **slots,
    )
    return (
        *solution_request(question),
        {"role": "assistant", "content": guide.text},
        {"role": "user", "content": request},
    )


def meta_request(question: Question) -> tuple[Message, ...]:
    """Ask the student to foresee its own tries at a question."""
    return tuple(prompts.meta_messages(question))


def shown_with_gold(question: Question) -> dict[str, str]:
    """Give the slots of a text that shows the documents, if there are any, the question and the gold."""
    return prompts.shown(question) | {"answer": prompts.one_line(question.answer)}


def monologue(question: Question, words: tuple[int, int]) -> str:
    """Describe a monologue in five phases on a question, so many words long."""
    return prompts.render(prompts.named_for("monologue", question), words=words_range(words))


def words_range(words: tuple[int, int]) -> str:
    """Write a range of words as the prompts do.

    >>> words_range((120, 300))
    'Between 120 and 300'
    """
    return f"Between {words[0]} and {words[1]}"
