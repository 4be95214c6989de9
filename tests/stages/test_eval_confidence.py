"""How sure a student is, in eval: what it states, its answers' probability, agreement, and without evidence."""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eval_lab import Lab, WordTokenizer, make_lab, metrics, question

from mbt_lite.files import read_jsonl, write_jsonl
from mbt_lite.generation.decoding import Rollout
from mbt_lite.prompts import completion_text
from mbt_lite.records import Document, to_row
from mbt_lite.stages import eval as stage

# by question number: the answer with all documents, and what is stated
SAYS = {0: ("Paris", 95), 1: ("Paris", 90), 2: ("Rome", 80), 3: ("Paris", 30), 4: ("Rome", 20), 5: ("Rome", None)}


def decode(self: Any, ids: Any, **settings: bool) -> str:
    return "".join(map(chr, ids)).replace("\0", "")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    made = make_lab(tmp_path, monkeypatch)
    rows = [dataclasses.replace(question(number), documents=documents(number)) for number in range(6)]
    write_jsonl(Path(made.recipe.data.dev.path), map(to_row, rows))
    made.with_eval(variants=("sft",), confidence=("stated", "answer_probability"))
    ask_for = {"ask_for": "confidence"}
    dev = made.recipe.data.dev.model_copy(update=ask_for)
    made.recipe = made.recipe.model_copy(update={"data": made.recipe.data.model_copy(update={"dev": dev})})
    monkeypatch.setattr(WordTokenizer, "decode", decode, raising=False)
    monkeypatch.setattr("mbt_lite.generation.local.generate", lambda *given: generate(made, *given))
    return made


def documents(number: int) -> tuple[Document, ...]:
    """Question 4 has supporting documents alone, question 5 has none."""
    known = {4: (True, True), 5: (False, False)}.get(number, (True, False))
    return tuple(Document(f"Title {place}", "some words", one) for place, one in enumerate(known))


def generate(lab: Lab, student: str, asked: Any, decoding: Any, wanted: Any) -> Iterator[Rollout]:
    lab.decoding = decoding
    for index in sorted(wanted):
        if lab.fail_after is not None and len(lab.generated) >= lab.fail_after:
            raise KeyboardInterrupt
        content = asked[index][-1]["content"]
        number = int(content.partition("number ")[2][0])
        lab.generated.append((student, content))
        answer, stated = SAYS[number]
        if "Title 0" not in content:
            answer, stated = ("Unknown.", 10) if number % 2 else (answer, stated)
        for sample in range(decoding.samples):
            said = "London" if sample and number == 0 else answer
            text = completion_text("so" if stated is None else f"so\nConfidence: {stated}", said)
            ids = (*map(ord, text), 0)
            told = tuple(-0.1 * (number + 1) for _ in ids) if decoding.log_probs else None
            yield Rollout(index, sample, text, ids, "stop", 9, told)


def test_two_readings_are_held_against_what_is_right(lab: Lab) -> None:
    printed = lab.run()
    assert lab.decoding is not None
    assert lab.decoding.log_probs
    block = metrics(lab, "sft")["calibration"]
    assert list(block) == ["stated", "answer_probability"]
    stated, probable = block["stated"], block["answer_probability"]
    assert (stated["missing"], stated["metrics"]["ece"]["n"]) == (1, 5)
    # by hand, over .95 .9 .8 .3 .2 and 1 1 0 1 0
    assert stated["metrics"]["brier"]["mean"] == pytest.approx((0.0025 + 0.01 + 0.64 + 0.49 + 0.04) / 5)
    assert stated["metrics"]["brier_of_base_rate"]["mean"] == pytest.approx(0.24)
    assert stated["metrics"]["auroc"]["mean"] == pytest.approx(5 / 6)
    assert stated["metrics"]["overconfident"] == {
        "mean": 0.5, "low": None, "high": None, "n": 2, "undefined_reason": "no interval: it is one figure of all rows"
    }  # fmt: skip
    assert stated["metrics"]["ece"]["mean"] == pytest.approx((0.15 + 0.8 + 0.7 + 0.2) / 5)
    assert 0 < stated["metrics"]["ece_if_perfect"]["mean"] < 1
    assert stated["metrics"]["accuracy_if_sure"]["mean"] == pytest.approx(2 / 3)
    assert sum(one["n"] for one in stated["bins"]) == 5
    assert [one["coverage"] for one in stated["risk_coverage"]][-1] == 1
    assert probable["missing"] == 0
    rows = read_jsonl(lab.run_dir.path / "eval/sft/answer_probabilities.jsonl")
    assert [row["answer_probability"] for row in rows] == pytest.approx([math.exp(-0.1 * n) for n in range(1, 7)])
    for said in (
        "stated: ECE", "stated: if perfect", "stated: Brier", "probability: AUROC", "n=5",
        "confidence of sft, stated: 1 completions have none and are left out",
    ):  # fmt: skip
        assert said in printed
    page = (lab.run_dir.path / "eval/report.html").read_text()
    for said in ("Confidence and share right: stated", "Risk and coverage: probability", "How sure it is: 24 measures"):
        assert said in page
    assert "(perfect confidences: " in page
    n_before = len(lab.generated)
    lab.run()
    assert len(lab.generated) == n_before


def test_off_means_no_block_no_file_no_log_probabilities(lab: Lab) -> None:
    lab.with_eval(confidence=())
    printed = lab.run()
    assert lab.decoding is not None
    assert not lab.decoding.log_probs
    assert not {"calibration", "without_evidence"} & metrics(lab, "sft").keys()
    assert {file.name for file in (lab.run_dir.path / "eval/sft").iterdir()} == {
        "completions.jsonl", "predictions.jsonl", "metrics.json"
    }  # fmt: skip
    assert "ECE" not in printed
    assert "Risk and coverage" not in (lab.run_dir.path / "eval/report.html").read_text()


def test_agreement_comes_with_several_completions(lab: Lab) -> None:
    lab.with_eval(confidence=("stated",), samples_per_question=4, temperature=1.0)
    lab.run()
    block = metrics(lab, "sft")["calibration"]
    assert list(block) == ["stated", "agreement"]
    assert block["agreement"]["metrics"]["ece"]["n"] == 24
    # of four answers to question 0 one is right, and alone
    assert [(one["from"], one["n"]) for one in block["agreement"]["bins"]] == [(0.2, 1), (0.7, 3), (0.9, 20)]
    assert not (lab.run_dir.path / "eval/sft/answer_probabilities.jsonl").exists()


def test_a_stop_loses_no_probability_and_asks_nothing_twice(lab: Lab) -> None:
    lab.with_eval(without_evidence=True)
    lab.fail_after = 3
    with pytest.raises(KeyboardInterrupt):
        lab.run()
    folder = lab.run_dir.path / "eval/sft"
    assert len(read_jsonl(folder / "answer_probabilities.jsonl")) == len(read_jsonl(folder / "completions.jsonl")) == 3
    lab.fail_after = 8
    with pytest.raises(KeyboardInterrupt):
        lab.run()
    lab.fail_after = None
    lab.run()
    assert len(lab.generated) == 6 + 4
    # a completion whose number is gone is made again: nothing else can tell it
    numbers = folder / "answer_probabilities.jsonl"
    numbers.write_text("".join(line for line in numbers.read_text().splitlines(True) if '"q2"' not in line))
    lab.run()
    assert len(lab.generated) == 6 + 4 + 1
    assert metrics(lab, "sft")["calibration"]["answer_probability"]["missing"] == 0


def test_without_evidence_it_should_not_know_and_not_be_sure(lab: Lab) -> None:
    lab.with_eval(without_evidence=True)
    assert any("without evidence: at most 4 in all" in one for one in stage.plan(lab.recipe, lab.run_dir))
    printed = lab.run()
    block = metrics(lab, "sft")["without_evidence"]
    assert block["left_out"] == {"all its documents support it": 1, "no document is known to support it": 1}
    found = block["metrics"]
    assert (found["unknown_with"]["mean"], found["unknown_without"]["mean"], found["unknown_with"]["n"]) == (0, 0.5, 4)
    # 95 90 80 30 with, 95 10 80 10 without
    assert found["stated_with"]["mean"] == pytest.approx(0.7375)
    assert found["stated_without"]["mean"] == pytest.approx(0.4875)
    assert found["stated_difference"]["mean"] == pytest.approx(-0.25)
    assert found["stated_difference"]["low"] < -0.25 < found["stated_difference"]["high"] <= 0
    assert found["answer_probability_difference"]["mean"] == pytest.approx(0)
    asked = [content for _, content in lab.generated if "Title 0" not in content]
    assert len(asked) == 4
    assert all("Title 1" in content for content in asked)
    for said in ("unknown without", "not asked without evidence: 1, all its documents support it"):
        assert said in printed


def test_evidence_alone_needs_no_confidence(lab: Lab) -> None:
    lab.with_eval(confidence=(), without_evidence=True)
    lab.run()
    card = metrics(lab, "sft")
    assert "calibration" not in card
    assert list(card["without_evidence"]["metrics"]) == ["unknown_with", "unknown_without", "unknown_difference"]


def test_steps_are_held_against_the_gold_bridges(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of six questions two have a bridge; the one is named surely beside a wrong name, the other unsurely."""
    asked = [dataclasses.replace(question(number), documents=documents(number)) for number in range(6)]
    asked[:2] = [dataclasses.replace(one, bridges=("Ana Ruiz",)) for one in asked[:2]]
    write_jsonl(Path(lab.recipe.data.dev.path), map(to_row, asked))
    dev = lab.recipe.data.dev.model_copy(update={"ask_for": "steps"})
    lab.recipe = lab.recipe.model_copy(update={"data": lab.recipe.data.model_copy(update={"dev": dev})})
    lab.with_eval(confidence=("steps",))

    def write(student: str, prompts: Any, decoding: Any, wanted: Any) -> Iterator[Rollout]:
        for index in sorted(wanted):
            lab.generated.append((student, ""))
            first = "number 0" in prompts[index][-1]["content"]
            trace = "Step 1: a -> Ana Ruiz" + ("\nStep 2: b -> Bo Ek" if first else "")
            text = completion_text(trace, "Paris")
            ids = (*map(ord, text), 0)
            sure = {place: -0.1 if first else -1.0 for place in range(len(ids))}
            at = text.find("Bo Ek")
            yield Rollout(index, 0, text, ids, "stop", 9, tuple(-0.2 if at <= i < at + 5 else sure[i] for i in sure))

    monkeypatch.setattr("mbt_lite.generation.local.generate", write)
    printed = lab.run()
    rows = read_jsonl(lab.run_dir.path / "eval/sft/answer_steps.jsonl")
    assert [row["right"] for row in rows] == [[True, False], [True], [], [], [], []]
    assert rows[0]["confidences"] == pytest.approx([math.exp(-0.1), math.exp(-0.2)])
    assert rows[1]["confidences"] == pytest.approx([math.exp(-1.0)])
    found = metrics(lab, "sft")["calibration"]
    assert list(found) == ["steps"]
    assert found["steps"]["missing"] == 4
    assert found["steps"]["risk_coverage"] == []
    told = found["steps"]["metrics"]
    assert (told["ece"]["n"], told["overconfident"]["mean"], told["overconfident"]["n"]) == (3, 1.0, 1)
    assert told["auroc"]["mean"] == 0.5
    assert "accuracy_if_sure" not in told
    assert "steps: ECE" in printed
    page = (lab.run_dir.path / "eval/report.html").read_text()
    assert "Confidence and share right: steps" in page
    assert "larger marks are more steps" in page
    assert "Risk and coverage" not in page
    # steps that were not read are read from completions made anew, whose rollouts alone tell them
    n = len(lab.generated)
    (lab.run_dir.path / "eval/sft/answer_steps.jsonl").unlink()
    lab.run()
    assert len(lab.generated) == n + 6


def test_what_is_stated_elsewhere_is_told_and_not_read(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.with_eval(confidence=("stated",))
    trace, lines = "so", iter(["</think>\nConfidence: 60", "Confidence: 70%", "nothing", "", "", ""])

    def write(student: str, prompts: Any, decoding: Any, wanted: Any) -> Iterator[Rollout]:
        for index in sorted(wanted):
            text = completion_text(f"{trace}\n{next(lines)}", "Paris")
            yield Rollout(index, 0, text, (1, 0), "stop", 9)

    monkeypatch.setattr("mbt_lite.generation.local.generate", write)
    printed = " ".join(lab.run().split())
    stated = metrics(lab, "sft")["calibration"]["stated"]
    assert (stated["missing"], stated["elsewhere"]) == (6, 2)
    assert "6 completions have none and are left out, 2 of these state one in another form or place" in printed


def test_nothing_read_is_no_figure(lab: Lab) -> None:
    lab.with_eval(confidence=("stated",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SAYS, 0, ("Paris", None))
        for number in range(6):
            patch.setitem(SAYS, number, ("Paris", None))
        printed = lab.run()
    found = metrics(lab, "sft")["calibration"]["stated"]
    assert (found["missing"], found["bins"], found["metrics"]["ece"]["mean"]) == (6, [], None)
    assert "stated: 6 completions have none" in printed
    assert json.dumps(found)


def test_a_reading_that_no_question_has_on_both_sides_says_so(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.with_eval(confidence=("stated",), without_evidence=True)
    for number in range(6):
        monkeypatch.setitem(SAYS, number, ("Paris", None))
    lab.run()
    found = metrics(lab, "sft")["without_evidence"]["metrics"]["stated_difference"]
    assert (found["mean"], found["n"]) == (None, 0)
    assert found["undefined_reason"] == "no question has a reading both with and without"
