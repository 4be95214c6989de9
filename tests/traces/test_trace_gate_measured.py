"""The quality gate against traces labelled by hand: precision and recall per reason.

`data/labelled.jsonl` holds traces of ours over the questions of `data/questions.jsonl`, each with the reasons for which
a reader would reject it; [] is a good one. Labels say what a reader sees, not what the gate does. Traces 1 to 109 have
shaped the gate; 110 to 129 were written after its last change and measured as they were: there it lets 3 of 4 good ones
pass and catches 12 of 16 bad ones. What it gets wrong: phases in free words (it knows cues), hints at a draft or at the
answer in words that it does not know, a conclusion that negates the gold without naming it.

The gate reports the first reason it finds. A report is right if a reader gave that reason; a labelled reason is found
if the report is one that the reader gave.
"""

import collections
import json
from pathlib import Path

import pytest

from mbt_lite.files import read_jsonl
from mbt_lite.records import Question, from_row
from mbt_lite.traces.checks import Rules, rejection

DATA = Path(__file__).parent / "data"
QUESTIONS = {
    row["question_id"]: from_row(Question, row, "questions.jsonl") for row in read_jsonl(DATA / "questions.jsonl")
}
ROWS = read_jsonl(DATA / "labelled.jsonl")
# words stand in for tokens
RULES = Rules(max_tokens=160, count_tokens=lambda question, text, answer: len(text.split()))

REASONS = (
    "copies the prompt",
    "does not reach the gold",
    "empty",
    "fewer phases than asked",
    "holds tags",
    "markdown",
    "nested think",
    "refused",
    "repeats itself",
    "reveals a draft",
    "reveals that the answer was given",
    "too long for training",
    "truncated",
    "wrong person",
)
# reason -> least precision, least recall, where they are not 1
BARS = {
    "does not reach the gold": (1.0, 0.9),
    "fewer phases than asked": (0.65, 1.0),
    "markdown": (1.0, 0.9),
    "reveals a draft": (1.0, 0.7),
    "reveals that the answer was given": (1.0, 0.9),
}


def report(row: dict[str, str]) -> str | None:
    return rejection(row["text"], row["finish_reason"], QUESTIONS[row["question_id"]], RULES)


REPORTS = {row["trace_id"]: report(row) for row in ROWS}


def precision_and_recall(reason: str) -> tuple[float, float]:
    labels = {row["trace_id"]: row["reasons"] for row in ROWS}
    reported = [trace_id for trace_id, found in REPORTS.items() if found == reason]
    labelled = [trace_id for trace_id, reasons in labels.items() if reason in reasons]
    right = sum(reason in labels[trace_id] for trace_id in reported)
    found = sum(REPORTS[trace_id] in labels[trace_id] for trace_id in labelled)
    return right / len(reported), found / len(labelled)


def test_the_set_is_large_and_holds_every_reason_and_good_traces() -> None:
    assert len(ROWS) == len({row["trace_id"] for row in ROWS}) >= 60
    labelled = collections.Counter(reason for row in ROWS for reason in row["reasons"])
    assert set(labelled) == set(REASONS)
    assert min(labelled.values()) >= 2
    assert sum(not row["reasons"] for row in ROWS) >= 15


@pytest.mark.parametrize("reason", REASONS)
def test_rejection_keeps_its_precision_and_recall(reason: str) -> None:
    precision, recall = precision_and_recall(reason)
    least_precision, least_recall = BARS.get(reason, (1.0, 1.0))
    assert (precision >= least_precision, recall >= least_recall) == (True, True), (precision, recall)


def test_rejection_lets_nearly_all_good_traces_pass_and_nearly_no_bad_one() -> None:
    good = [REPORTS[row["trace_id"]] for row in ROWS if not row["reasons"]]
    bad = [REPORTS[row["trace_id"]] for row in ROWS if row["reasons"]]
    assert good.count(None) / len(good) >= 0.8, collections.Counter(good)
    assert bad.count(None) / len(bad) <= 0.07, bad.count(None)


def test_the_set_is_one_json_object_a_line_with_known_keys() -> None:
    for line in (DATA / "labelled.jsonl").read_text(encoding="utf-8").splitlines():
        assert set(json.loads(line)) == {"trace_id", "question_id", "finish_reason", "text", "reasons"}
