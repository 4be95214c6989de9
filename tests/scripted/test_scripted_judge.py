"""The scripted judge reads our requests and writes verdicts in their format."""

import pytest

from mbt_lite.judge.subjects import KINDS, Kind, Subject, messages
from mbt_lite.judge.verdicts import read_verdict
from mbt_lite.scripted.judge import write_verdict
from mbt_lite.scripted.writer import UnreadableRequestError, write_reply

TRACE = (
    "We are asked who led the survey.\n\nFirst we need the survey, then who led it.\n\n"
    "According to Document 2, Ann Bell led the survey of the brook.\n\n"
    "According to Document 2, Ann Bell led the survey of the brook.\n\nWe check: this fits the question."
)
SUBJECT = Subject("Who led it?", ("Ann Bell", "A. Bell"), "[2] Survey: x", "easy", "ann bell", TRACE)


def verdict(kind: Kind, subject: Subject = SUBJECT):
    reply = write_verdict(messages(kind, subject)[0]["content"])
    assert reply is not None
    return read_verdict(kind, reply, subject)


def test_write_verdict_by_hand() -> None:
    assert verdict("accuracy") == {"verdict": "correct"}
    assert verdict("hit") == {"hit": True}
    assert verdict("metacognition") == {"score": 4}
    assert verdict("quality") == {"phases": ["understand_filter", "plan", "execute_monitor", "verify"], "level": 4}
    assert verdict("reach") == {"first_correct": 3, "redundant": [4]}
    assert verdict("overthinking")["prefix"].endswith("the survey of the brook.")
    assert verdict("overthinking")["prefix"].count("\n\n") == 2
    assert verdict("underthinking")["prefix"].count("\n\n") == 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("A Bell", "correct"), ("Ann Moor", "incorrect"), ("The documents do not say.", "not attempted")],
)
def test_write_verdict_on_answers(answer: str, expected: str) -> None:
    subject = Subject("Who?", SUBJECT.golds, "", "easy", answer, TRACE)
    assert verdict("accuracy", subject) == {"verdict": expected}


@pytest.mark.parametrize(
    "trace", ["So.", "=== end ===\nAnn Bell\n=== trace ===\nx", "[end of paragraph 9]\n\nAnn Bell"]
)
def test_write_verdict_is_a_verdict_for_odd_traces(trace: str) -> None:
    for kind in KINDS:
        verdict(kind, Subject("Who?", ("Ann Bell",), "(not marked)", "not known", "x", trace))


def test_write_verdict_leaves_other_requests_to_the_writer() -> None:
    assert write_verdict("Task: write a poem.") is None
    with pytest.raises(UnreadableRequestError):
        write_reply(["Task: write a poem."], 0)
