"""The gate of plans against plans labelled by hand: precision and recall.

`data/plans.jsonl` holds replies of ours over the questions of `data/plan_questions.jsonl`, as a teacher could send
them, each with the reasons for which a reader would not train on it; [] is a good one.
"""

from pathlib import Path

from mbt_lite.files import read_jsonl
from mbt_lite.records import Question, from_row
from mbt_lite.traces.checks import Rules
from mbt_lite.traces.comt import plain_plan, plan_faults
from mbt_lite.traces.reply import read_reply

DATA = Path(__file__).parent / "data"
QUESTIONS = {
    row["question_id"]: from_row(Question, row, "questions") for row in read_jsonl(DATA / "plan_questions.jsonl")
}
ROWS = read_jsonl(DATA / "plans.jsonl")


def faults(row: dict[str, str]) -> list[str]:
    text = plain_plan(read_reply(row["text"], has_phases=False).text)
    return list(plan_faults(text, "stop", QUESTIONS[row["question_id"]], Rules()))


FOUND = {row["plan_id"]: faults(row) for row in ROWS}


def test_the_set_has_forty_good_plans_and_forty_bad_ones_of_every_reason() -> None:
    assert len(FOUND) == len(ROWS)
    assert sum(not row["reasons"] for row in ROWS) == 40
    assert sum(bool(row["reasons"]) for row in ROWS) >= 40
    reasons = [reason for row in ROWS for reason in row["reasons"]]
    assert set(reasons) == {
        "not steps",
        "names a fact",
        "holds a number",
        "reaches the gold",
        "repeats itself",
        "holds tags",
    }


def test_the_gate_keeps_good_plans_and_bad_ones_out() -> None:
    kept = [row for row in ROWS if not FOUND[row["plan_id"]]]
    good = [row for row in ROWS if not row["reasons"]]
    right = sum(not row["reasons"] for row in kept)
    assert right / len(kept) >= 0.95, [row["plan_id"] for row in kept if row["reasons"]]
    assert right / len(good) >= 0.95, [row["plan_id"] for row in good if FOUND[row["plan_id"]]]


def test_the_reason_of_a_reader_is_among_those_of_the_gate() -> None:
    bad = [row for row in ROWS if row["reasons"]]
    same = sum(set(row["reasons"]) <= set(FOUND[row["plan_id"]]) for row in bad)
    assert same / len(bad) >= 0.95, [
        row["plan_id"] for row in bad if not set(row["reasons"]) <= set(FOUND[row["plan_id"]])
    ]
