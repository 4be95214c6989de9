"""Confidence rows through gen: drafts by the plain prompt, rows under the richer one, a stop is free, rows replayed."""

import collections
from pathlib import Path

import pytest
from gen_lab import demo_questions, hand_over, make_recipe, run
from short_traces import write_traces

from mbt_lite.errors import DataError
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.generation.decoding import Rollout
from mbt_lite.prompts import completion_text
from mbt_lite.recipe.schema import Recipe
from mbt_lite.run_dir import RunDir
from mbt_lite.stages import gen
from mbt_lite.text.confidence import read_confidence


class Student:
    """Is right as often as the place of the question says, from never to always; dies after so many texts."""

    def __init__(self) -> None:
        self.questions = demo_questions()
        self.prompts: set[str] = set()
        self.made, self.dies_after = 0, 10**9

    def __call__(self, asked, decoding, wanted):
        for position in sorted(wanted):
            content = asked[position][-1]["content"]
            self.prompts.add(content)
            place, question = next(
                (place, one) for place, one in enumerate(self.questions) if f"Question: {one.question}\n" in content
            )
            for sample in range(decoding.samples):
                self.made += 1
                if self.made > self.dies_after:
                    raise KeyboardInterrupt
                is_right = sample < place % (decoding.samples + 1)
                text = completion_text("We look.", question.answer if is_right else f"Nobody {sample}")
                yield Rollout(position, sample, text, tuple(range(20)), "stop", 9)


@pytest.fixture
def student(monkeypatch: pytest.MonkeyPatch) -> Student:
    made = Student()
    hand_over(monkeypatch, made)
    return made


def recipe_in(folder: Path, questions: int = 40, **settings: object) -> Recipe:
    made = make_recipe(folder, "confidence", questions, gen={"rollouts_per_question": 5, **settings})
    train = made.data.train.model_copy(update={"ask_for": "confidence"})
    return made.model_copy(update={"data": made.data.model_copy(update={"train": train})})


def test_drafts_are_asked_plainly_and_rows_ask_for_confidence(student: Student, tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    [line, *_] = gen.plan(recipe, RunDir(tmp_path / "run"))
    assert line == "gen: 40 questions, 200 drafts of the student, 0 teacher requests (confidence)"
    printed = run(recipe, tmp_path / "run")
    assert len(student.prompts) == 40
    assert not any("Confidence" in content for content in student.prompts)
    rows = read_jsonl(tmp_path / "run/gen/traces.jsonl")
    assert all("Confidence: NN" in row["prompt"][0]["content"] for row in rows)
    assert {row["row_rule"] for row in rows} == {"line"}
    golds = {one.question_id: one.answer for one in demo_questions()}
    for row in rows:
        stated, is_right = read_confidence(row["text"]), row["answer"] == golds[row["question_id"]]
        assert stated is not None
        # one of five agrees with itself, right or wrong; two or more are right
        assert stated >= 95 or 45 <= stated <= 55
        assert is_right or stated <= 55
    done = read_json(tmp_path / "run/gen/done.json")["summary"]
    dropped = done["rejected"]["enough rows as sure as this"]
    assert len(rows) + dropped == done["traces"] + dropped == 40
    assert "enough rows as sure as this" in printed
    assert "gen: the most frequent answer is right for 33 of 40 questions; rows state 50% to 100%; " in printed
    assert "agreement tells right from wrong with AUROC 0." in printed


def test_rows_of_rates_are_made_from_the_drafts_that_are_there(student: Student, tmp_path: Path) -> None:
    run(recipe_in(tmp_path), tmp_path / "run")
    student.dies_after = 0
    run(recipe_in(tmp_path, confidence_from="rate"), tmp_path / "run")
    asked = {one.question_id: one for one in demo_questions()}
    drafts = collections.defaultdict(list)
    for row in read_jsonl(tmp_path / "run/gen/rollouts.jsonl"):
        drafts[row["question_id"]].append(asked[row["question_id"]].answer in row["text"])
    for row in read_jsonl(tmp_path / "run/gen/traces.jsonl"):
        own = drafts[row["question_id"]]
        assert read_confidence(row["text"]) == pytest.approx(100 * sum(own) / len(own), abs=5.5)


def test_a_stop_costs_no_draft_twice(student: Student, tmp_path: Path) -> None:
    recipe, whole, stopped = recipe_in(tmp_path), tmp_path / "whole", tmp_path / "stopped"
    run(recipe, whole)
    student.made, student.dies_after = 0, 33
    with pytest.raises(KeyboardInterrupt):
        run(recipe, stopped)
    student.dies_after = 10**9
    run(recipe, stopped)
    assert student.made <= 200 + 5 + 1
    for name in ("rollouts.jsonl", "traces.jsonl"):
        assert read_jsonl(stopped / "gen" / name) == read_jsonl(whole / "gen" / name)


def test_rows_of_an_earlier_run_come_again_beside_them(student: Student, tmp_path: Path) -> None:
    write_traces(tmp_path / "earlier/traces.jsonl", demo_questions()[:80])
    run(recipe_in(tmp_path, replay=str(tmp_path / "earlier/traces.jsonl")), tmp_path / "run")
    kinds = [row["kind"] for row in read_jsonl(tmp_path / "run/gen/traces.jsonl")]
    assert kinds.count("mbt_s") == kinds.count("confidence") > 10


def test_too_few_questions_are_told_and_their_drafts_kept(student: Student, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="10 of 10 questions have a draft with an answer"):
        run(recipe_in(tmp_path, questions=10), tmp_path / "run")
    assert len(read_jsonl(tmp_path / "run/gen/rollouts.jsonl")) == 50
