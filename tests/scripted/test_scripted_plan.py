"""Plans by rule: nested nouns innermost first, compared things one after the other."""

import dataclasses

import pytest

from mbt_lite.records import Document, Question
from mbt_lite.scripted.plan import write_plan
from mbt_lite.scripted.writer import write_reply
from mbt_lite.traces.comt import comt_request

PLANS = {
    "Where was the director of Silent Garden born?": [
        "the director of Silent Garden -> A",
        "where was A born -> answer",
    ],
    "Who is the mayor of the birthplace of Ann Lee?": ["the birthplace of Ann Lee -> A", "the mayor of A -> answer"],
    "Which county is the school attended by Ann Lee in?": [
        "the school attended by Ann Lee -> A",
        "which county is A in -> answer",
    ],
    "Which film came out later, Silent Garden or Last Ocean?": [
        "when Silent Garden came out -> A",
        "when Last Ocean came out -> B",
        "the later of Silent Garden (A) and Last Ocean (B) -> answer",
    ],
    "Who was born earlier, the author of Brave Keys or Ann Lee?": [
        "the author of Brave Keys -> A",
        "when A was born -> B",
        "when Ann Lee was born -> C",
        "the earlier of A (B) and Ann Lee (C) -> answer",
    ],
    "Why is Kell's tower red?": ["what is told of Kell -> A", "why is Kell's tower red, by A -> answer"],
    "why so?": ["what is told of its subject -> A", "why so, by A -> answer"],
}


@pytest.mark.parametrize("question", PLANS)
def test_write_plan_takes_a_question_apart(question: str) -> None:
    lines = [f"Step {number}: {line}" for number, line in enumerate(PLANS[question], 1)]
    assert write_plan(question) == "\n".join(lines)


def test_the_scripted_teacher_answers_a_plan_request_with_and_without_documents() -> None:
    question = Question(
        "q",
        "Who is the mayor of the birthplace of Ann Lee?",
        "Jo Ray",
        (),
        (Document("Kell", "Kell.", True),),
        "mbt",
        2,
    )
    for asked in (question, dataclasses.replace(question, documents=())):
        [message] = comt_request(asked)
        assert "links 2 facts" in message["content"]
        assert question.answer not in message["content"]
        assert write_reply([message["content"]], 0) == write_plan(question.question)
