"""People's own questions through the loop: fifty word problems without documents, as GSM8K writes them."""

import json
import random
from pathlib import Path

import pytest
from forked import start_command

from mbt_lite.files import read_json, read_jsonl
from mbt_lite.judge.subjects import make_subject
from mbt_lite.metrics.predictions import score_completion
from mbt_lite.prompts import version_for
from mbt_lite.records import Completion, Document, Question, Solution
from mbt_lite.traces.kinds import kind_named
from mbt_lite.traces.requests import solution_request


def problem(dice: random.Random) -> dict[str, str]:
    first, times = dice.randrange(10, 900), dice.randrange(2, 9)
    every = first * times
    solution = f"Each box holds {first}.\n{first} * {times} = <<{first}*{times}={every}>>{every}\n#### {every:,}"
    return {"question": f"A box holds {first} pears. How many pears are in {times} boxes?", "answer": solution}


@pytest.mark.slow
def test_word_problems_go_through_gen_sft_and_eval(student_folder: Path, tmp_path: Path) -> None:
    rows = list({row["question"]: row for row in map(problem, [random.Random(0)] * 60)}.values())[:58]
    for name, part in {"train": rows[:50], "dev": rows[50:]}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    recipe = {
        "model": {"name": str(student_folder), "dtype": "float32"},
        "data": {
            "train": {"path": str(tmp_path / "train.jsonl")},
            "dev": {"path": str(tmp_path / "dev.jsonl")},
            "max_prompt_tokens": 900,
        },
        "lora": {"rank": 4, "alpha": 8},
        "gen": {"kind": "mbt_s"},
        "sft": {"max_sequence_tokens": 2000, "micro_batch_size": 5, "gradient_accumulation_steps": 2},
        "eval": {"variants": ["base", "metacognitive", "sft"], "max_completion_tokens": 24, "batch_size": 8},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    for stage in ("gen", "sft", "eval"):
        code, said = start_command(stage, str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")).finish()
        assert code == 0, said
        if stage == "gen":
            assert "50 of 50 questions have no documents: they are asked closed-book" in said
    traces = read_jsonl(tmp_path / "run/gen/traces.jsonl")
    assert len(traces) == 50
    first = traces[0]
    assert first["prompt"][0]["content"].startswith("Question: A box holds")
    assert first["answer"].isdecimal()
    assert f"<answer>{first['answer']}</answer>" in first["completion"][0]["content"]
    assert read_json(tmp_path / "run/eval/base/metrics.json")["n_questions"] == 8
    assert read_jsonl(tmp_path / "run/eval/base/predictions.jsonl")[0]["golds"][0].startswith("#### ")


CLOSED = Question("q", "What is 6 x 7?", "42", (), (), "plain", answer_rule="number")
OPEN = Question("q", "What is 6 x 7?", "42", (), (Document("T", "It is 42.", None),), "plain")


@pytest.mark.parametrize("kind", ["mbt_s", "mbt_r", "distill_r"])
def test_no_request_about_a_question_without_documents_speaks_of_any(kind: str) -> None:
    asked = kind_named(kind).trace_request
    assert asked is not None
    draft = Completion("q", 0, "It is 41.", "stop", 1, 1)
    guide = Solution("q", "Multiply.", "t", False)
    texts = [message["content"] for message in asked(CLOSED, (50, 90), draft, guide)]
    assert not any(word in " ".join(texts).replace("there are no documents", "") for word in ("document", "{{"))
    assert any("=== documents ===" in message["content"] for message in (*asked(OPEN, (50, 90), draft, guide),))
    assert version_for(kind_named(kind).prompts, CLOSED) != version_for(kind_named(kind).prompts, OPEN)


def test_the_guide_and_the_judge_are_shown_what_there_is() -> None:
    assert "=== documents ===" not in solution_request(CLOSED)[0]["content"]
    completion = Completion("q", 0, "<think>\nSix sevens.\n</think>\n\n<answer>$42.00</answer>", "stop", 1, 1)
    prediction = score_completion(CLOSED, completion, "base")
    assert prediction.exact_match == 1
    assert make_subject(CLOSED, prediction, prefilled_think=False).evidence == "(none)"
    # nobody says which document supports the answer: the judge sees all of them
    assert make_subject(OPEN, prediction, prefilled_think=False).evidence == "[1] T: It is 42."
