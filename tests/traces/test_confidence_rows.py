"""Rows of confidence by hand: what drafts agree on, how often that is right, which rows stay."""

import collections
import dataclasses

import pytest

from mbt_lite.data.questions import read_questions
from mbt_lite.errors import DataError
from mbt_lite.metrics.calibration import bin_of, isotonic
from mbt_lite.prompts import completion_text
from mbt_lite.recipe.schema import Questions
from mbt_lite.records import Completion
from mbt_lite.text.confidence import read_confidence
from mbt_lite.traces.checks import Rules
from mbt_lite.traces.confidence import confidence_rows, modal
from mbt_lite.traces.kinds import kind_named

KIND = kind_named("confidence")
DEMO = read_questions(Questions(path="data_samples/demo_train.jsonl"), 0)
QUESTIONS = [dataclasses.replace(one, ask_for="confidence") for one in DEMO[:60]]
RULES = Rules(min_phases=0, says_we=False)


def draft(question, index, answer, trace="We look.", ending="stop"):
    text = f"<think>{trace}" if answer is None else completion_text(trace, answer)
    return Completion(question.question_id, index, text, ending, 9, 20)


def drafts_of(question, right, others, size=10):
    """`right` drafts with the gold, then those of one wrong answer, the rest all different."""
    said = [question.answer] * right + ["Nobody"] * others
    said += [f"Somebody {index}" for index in range(size - len(said))]
    return [draft(question, index, answer) for index, answer in enumerate(said)]


def made(drafts, questions=QUESTIONS, rules=RULES, seed=0):
    return confidence_rows(KIND, questions, drafts, rules, "student", seed)


def test_the_most_frequent_answer_is_found_as_answers_are_compared() -> None:
    question = QUESTIONS[0]
    own = [
        draft(question, 0, "Paris"),
        draft(question, 1, "the Rome."),
        draft(question, 2, "rome"),
        draft(question, 3, None),
    ]
    found = modal(question, own)
    assert found is not None
    # the draft without an answer agrees with nobody, but was asked
    assert (found.draft.rollout_index, found.consistency) == (1, 0.5)
    assert modal(question, [draft(question, 0, None), draft(question, 1, "Rome", ending="length")]) is None
    first = modal(question, [draft(question, 0, "Rome"), draft(question, 1, "Paris")])
    assert first is not None
    assert first.draft.rollout_index == 0


def test_a_row_states_how_often_such_agreement_is_right() -> None:
    # 9 of 10 agree and three of four such are right; 4 of 10 agree, and none is
    sure = [drafts_of(one, 9, 0) if index % 4 else drafts_of(one, 0, 9) for index, one in enumerate(QUESTIONS[:40])]
    unsure = [drafts_of(one, 0, 4) for one in QUESTIONS[40:]]
    found = made([one for own in (*sure, *unsure) for one in own])
    for row in found.traces:
        stated = read_confidence(row.text)
        question = next(one for one in QUESTIONS if one.question_id == row.question_id)
        low, high = (0, 5) if question in QUESTIONS[40:] else (70, 80)
        assert stated is not None
        assert low <= stated <= high
    row = found.traces[0]
    # the wrong answer that most drafts gave is kept
    assert (row.answer, row.row_rule, row.kind, row.teacher) == ("Nobody", "line", "confidence", "student")
    assert row.completion[0]["content"].startswith("<think>\nWe look.\nConfidence: 7")
    assert 'one line "Confidence: NN"' in row.prompt[0]["content"]
    assert len({row.text for row in found.traces}) > 2, "noise makes targets differ"
    assert made([one for own in (*sure, *unsure) for one in own]).traces == found.traces
    assert made([one for own in (*sure, *unsure) for one in own], seed=1).traces != found.traces


def test_targets_are_the_fit_within_the_noise() -> None:
    own = [
        drafts_of(one, index % 10 + 1, 0) if index % 3 else drafts_of(one, 0, index % 10 + 1)
        for index, one in enumerate(QUESTIONS)
    ]
    found = made([one for some in own for one in some])
    modals = [modal(question, some) for question, some in zip(QUESTIONS, own, strict=True)]
    is_right = [one.draft.text == completion_text("We look.", one.question.answer) for one in modals if one]
    fitted = dict(
        zip(
            (one.question_id for one in QUESTIONS),
            isotonic([one.consistency for one in modals if one], is_right),
            strict=True,
        )
    )
    for row in found.traces:
        assert abs(read_confidence(row.text) / 100 - fitted[row.question_id]) <= 0.0551


def test_a_row_of_rate_states_how_many_of_the_questions_drafts_are_right() -> None:
    shares = {one.question_id: index % 11 / 10 for index, one in enumerate(QUESTIONS)}
    # the more agree the fewer are right: agreement would teach one number
    drafts = [
        one for question in QUESTIONS for one in drafts_of(question, round(10 * shares[question.question_id]), 10)[:10]
    ]
    rows = confidence_rows(KIND, QUESTIONS, drafts, RULES, "student", 0, "rate").traces
    assert len(rows) > 30
    for row in rows:
        assert abs(read_confidence(row.text) / 100 - shares[row.question_id]) <= 0.0551


def test_no_tenth_of_the_scale_has_more_rows_than_its_even_share_and_drops_are_counted() -> None:
    shares = [10] * 30 + [6] * 20 + [2] * 10
    own = [
        drafts_of(one, share, 0) if index % 2 else drafts_of(one, 0, share)
        for index, (one, share) in enumerate(zip(QUESTIONS, shares, strict=True))
    ]
    found = made([one for some in own for one in some])
    sizes = collections.Counter(bin_of(read_confidence(row.text) / 100) for row in found.traces)
    assert len(found.traces) + found.final["enough rows as sure as this"] == 60
    assert found.final["enough rows as sure as this"] > 0
    # no tenth lost all its rows
    assert max(sizes.values()) <= -(-60 // len(sizes))
    assert len(found.traces) >= 30


def test_what_cannot_train_is_named_but_counts_for_the_fit() -> None:
    own = [drafts_of(one, 8, 0) for one in QUESTIONS[:34]]
    own[0] = [draft(QUESTIONS[0], 0, None)] * 10
    own[1] = [draft(QUESTIONS[1], index, "Rome", trace="We <answer> here.") for index in range(10)]
    own[2] = [draft(QUESTIONS[2], index, "Rome", trace="So.\nConfidence: 50") for index in range(10)]
    found = made([one for some in own for one in some], questions=QUESTIONS[:34])
    for reason in ("no answer in the drafts", "holds tags", "states a confidence already"):
        assert found.final[reason] == 1
    long = dataclasses.replace(RULES, max_tokens=5, count_tokens=lambda question, trace, answer: len(trace.split()))
    assert made([one for some in own for one in some], QUESTIONS[:34], long).final["too long for training"] == 0
    longer = dataclasses.replace(long, max_tokens=3)
    # We look. Confidence: NN; of all but the first two
    assert made([one for some in own for one in some], QUESTIONS[:34], longer).final["too long for training"] == 32


def test_too_few_questions_are_one_line() -> None:
    own = [one for question in QUESTIONS[:29] for one in drafts_of(question, 5, 0)]
    with pytest.raises(DataError, match=r"^gen: 29 of 60 questions have a draft with an answer, .* wants 30 .*limit`$"):
        made(own)


def test_where_drafts_were_cut_off_more_questions_are_no_cure() -> None:
    own = [draft(question, index, None, ending="length") for question in QUESTIONS for index in range(10)]
    with pytest.raises(DataError, match=r"0 of 60 .*600 of 600 drafts were cut off.*raise `gen.max_completion_tok"):
        made(own)
