"""Expert rows of forecasts: which draft becomes one, what is true in it, who is said to have written it."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from mbt_lite.data.synthetic import FILES, generate_questions
from mbt_lite.errors import DataError, RunError
from mbt_lite.files import write_jsonl
from mbt_lite.prompts import completion_text
from mbt_lite.records import Completion, Question, Trace, to_row
from mbt_lite.rewards.meta import read_forecast, titles, write_forecast
from mbt_lite.traces.asking import Made
from mbt_lite.traces.kinds import kind_named
from mbt_lite.traces.meta_rows import expert_rows, replayed

KIND = kind_named("meta_expert")
QUESTIONS = [one for one in generate_questions(FILES[0]) if one.question_type == "bridge"][:12]
ONE = QUESTIONS[0]


def completion(question: Question, index: int, text: str, tokens: int = 50, *, ends: str = "stop") -> Completion:
    return Completion(question.question_id, index, text, ends, 9, tokens)  # type: ignore[arg-type]


def drafts(question: Question, right: int, of: int, tokens: Sequence[int] = ()) -> list[Completion]:
    """Give drafts of which the first are right, each with its length."""
    texts = [completion_text(f"By {question.bridges[0]}.", question.answer)] * right
    texts += [completion_text("By chance.", "nowhere")] * (of - right)
    return [
        completion(question, index, text, (tokens or range(40, 40 + of))[index]) for index, text in enumerate(texts)
    ]


def told(question: Question, *links: Sequence[str]) -> list[Completion]:
    return [
        completion(question, index, completion_text(f"Thought {index}.", write_forecast(some, 1, 1)))
        for index, some in enumerate(links)
    ]


def make(
    questions: Sequence[Question], own: Sequence[Completion], foretold: Sequence[Completion], **rules: int
) -> Made:
    gate = dataclasses.replace(KIND.rules(4), **rules)
    if rules:
        gate = dataclasses.replace(gate, count_tokens=lambda question, trace, answer: len(trace + answer))
    return expert_rows(KIND, questions, own, foretold, gate, "the student", 0)


def only(made: Made) -> Trace:
    [row] = made.traces
    return row


def answer(row: Trace) -> dict[str, object]:
    return json.loads(row.answer)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("of", "right", "said"), [(8, 5, 5), (6, 4, 5), (8, 8, 8), (2, 1, 4)])
def test_the_best_forecast_becomes_a_row_with_the_true_numbers(of: int, right: int, said: int) -> None:
    foretold = told(ONE, ["Nobody"], [ONE.bridges[0], "Nobody"], ONE.bridges, [ONE.answer])
    row = only(make([ONE], drafts(ONE, right, of, range(40, 48)), foretold))
    assert answer(row) == {"links": [ONE.bridges[0]], "right_of_8": said, "tokens": round(40 + (right - 1) / 2)}
    assert (row.text, row.rollout_index, row.teacher, row.scripted) == ("Thought 2.", 2, "the student", False)
    assert row.prompt[0]["content"].count("Do not answer") == 1
    assert read_forecast(row.completion[0]["content"]).links == (ONE.bridges[0],)
    assert (row.kind, row.row_rule) == ("meta_expert", "closed")


def test_right_lengths_alone_make_the_length() -> None:
    row = only(make([ONE], drafts(ONE, 2, 4, (100, 60, 900, 900)), told(ONE, ONE.bridges)))
    assert answer(row)["tokens"] == 80


def test_links_that_hit_too_little_make_no_row() -> None:
    made = make([ONE], drafts(ONE, 2, 4), told(ONE, ["A", "B", "C", "D", "E"], ["Nobody"]))
    assert made.traces == []
    assert [row["reason"] for row in made.rejected] == ["links that the drafts did not go through"]


def test_a_fifth_of_the_links_is_enough() -> None:
    only(make([ONE], drafts(ONE, 2, 4), told(ONE, [ONE.bridges[0], "B", "C", "D", "E"])))


def test_without_a_readable_forecast_a_rule_writes_one_and_says_so() -> None:
    unreadable = [completion(ONE, 0, "no"), *told(ONE, ONE.bridges)]
    unreadable[1] = dataclasses.replace(unreadable[1], finish_reason="length")
    row = only(make([ONE], drafts(ONE, 4, 8, (50,) * 8), unreadable))
    assert (row.teacher, row.scripted, row.rollout_index) == ("scripted", True, None)
    assert answer(row) == {"links": [ONE.bridges[0]], "right_of_8": 4, "tokens": 50}
    assert (
        row.text == f"The question leads to {ONE.bridges[0]}. We expect to be right 4 of 8 times, in about 50 tokens."
    )


def test_a_rule_finds_a_name_that_ends_a_sentence() -> None:
    document = dataclasses.replace(ONE.documents[0], text="They met in Ostrava. It was Mr. Vale.")
    question = dataclasses.replace(ONE, documents=(document,))
    texts = [completion_text("By Ostrava, with Mr. Vale.", ONE.answer), completion_text("By chance.", "nowhere")]
    row = only(make([question], [completion(question, place, text) for place, text in enumerate(texts)], []))
    assert answer(row)["links"] == ["Ostrava", "Mr. Vale"]


def test_gold_bridges_are_not_looked_at() -> None:
    other = next(title for title in titles(ONE) if title not in ONE.bridges)
    texts = [completion_text(f"By {other}.", ONE.answer), completion_text("By chance.", "nowhere")]
    row = only(make([ONE], [completion(ONE, place, text) for place, text in enumerate(texts)], []))
    assert answer(row)["links"] == [other]


def test_a_quarter_at_most_are_of_questions_never_solved() -> None:
    wandering = completion_text(f"Perhaps {QUESTIONS[0].documents[0].title}.", "nowhere")
    own, solved_ids = [], {one.question_id for one in QUESTIONS[:6]}
    for question in QUESTIONS:
        if question.question_id in solved_ids:
            own += drafts(question, 1, 2)
        else:
            text = wandering.replace(QUESTIONS[0].documents[0].title, question.bridges[0])
            own += [completion(question, index, text, tokens) for index, tokens in enumerate((30, 40, 90))]
    made = make(QUESTIONS, own, [])
    never = [row for row in made.traces if row.question_id not in solved_ids]
    assert (len(made.traces), len(never)) == (8, 2)
    assert all(answer(row)["right_of_8"] == 0 and answer(row)["tokens"] == 40 for row in never)
    assert all("may lead" in row.text for row in never)
    assert [row["reason"] for row in made.rejected] == ["enough of questions never solved"] * 4
    assert [row.trace_id for row in make(QUESTIONS, own, []).traces] == [row.trace_id for row in made.traces]


def test_rows_that_cannot_train_are_kept_out() -> None:
    assert make([ONE], drafts(ONE, 2, 4), told(ONE, ONE.bridges), max_tokens=10).final == {"too long for training": 1}
    tagged = [completion(ONE, 0, completion_text("a </answer b", write_forecast(ONE.bridges, 1, 1)))]
    assert make([ONE], drafts(ONE, 2, 4), tagged).final == {"holds tags": 1}
    assert make([ONE], [], []).final == {"no drafts": 1}
    bare = [completion(ONE, 0, completion_text("Hm.", ONE.answer)), completion(ONE, 1, "no")]
    assert make([ONE], bare, []).final == {"no link in the drafts": 1}


def test_rows_come_again_as_many_as_there_are_new_ones(tmp_path: Path) -> None:
    rows = [only(make([one], drafts(one, 1, 2), told(one, one.bridges))) for one in QUESTIONS]
    path = tmp_path / "traces.jsonl"
    write_jsonl(path, map(to_row, rows))
    again = replayed(path, 5, 3, ())
    assert again == replayed(path, 5, 3, ()) != replayed(path, 5, 4, ())
    assert [rows.index(row) for row in again] == sorted(rows.index(row) for row in again)
    assert replayed(path, 99, 0, ()) == rows
    with pytest.raises(DataError, match=f"ids of new ones \\(got {rows[3].trace_id}\\)"):
        replayed(path, 5, 0, [rows[3].trace_id])
    with pytest.raises(RunError, match="no rows to replay"):
        replayed(tmp_path / "gone.jsonl", 5, 0, ())
