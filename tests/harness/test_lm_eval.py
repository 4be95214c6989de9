"""The bridge to lm-evaluation-harness, run by its real engine where it is installed.

CI can run the last test after `pip install -c constraints-base.txt '.[train,dev,harness]'`.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from mbt_lite import prompts
from mbt_lite.errors import DataError
from mbt_lite.files import write_jsonl
from mbt_lite.harness import mbt_lite_task
from mbt_lite.metrics.predictions import score_completion
from mbt_lite.records import Completion, Document, Question, to_row

FOLDER = Path(mbt_lite_task.__file__).parent
ANSWERS = ("Rome", "Oslo")


def question(number: int) -> Question:
    answer = ANSWERS[number % 2]
    return Question(f"q{number}", f"Where is {number}?", answer, (), (Document("A", "b", True),), "mbt")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    write_jsonl(path, (to_row(question(number)) for number in range(6)))
    return path


def test_load_keeps_the_question_and_prompt_is_what_eval_sends(questions: Path) -> None:
    pytest.importorskip("datasets")
    docs = mbt_lite_task.load(questions=str(questions), version=1)["test"]
    assert len(docs) == 6
    assert mbt_lite_task.prompt(docs[3]) == prompts.student_messages(question(3))[-1]["content"]
    assert docs[3]["answer"] == "Oslo"


@pytest.mark.parametrize("metadata", [{}, {"questions": "nowhere.jsonl"}])
def test_load_says_what_is_missing(metadata: dict[str, Any]) -> None:
    pytest.importorskip("datasets")
    with pytest.raises(DataError, match=r"questions\.jsonl"):
        mbt_lite_task.load(**metadata)


@pytest.mark.parametrize("prefilled", [False, True])
def test_score_is_ours(prefilled: bool) -> None:
    text = "It is Rome.</think><answer>rome</answer>" if prefilled else "<think>Hm.</think><answer>Rome.</answer>"
    doc = {"question": json.dumps(to_row(question(0))), "answer": "Rome", "prefilled_think": prefilled}
    assert mbt_lite_task.score(doc, [text]) == {"exact_match": 1, "f1": 1.0, "answered": 1}
    unclosed = "<answer>Rome</answer>" if prefilled else "<think><answer>Rome</answer>"
    assert mbt_lite_task.score(doc, [unclosed])["exact_match"] == 0


def taught_student(folder: Path) -> None:
    """Save a tiny model that knows one completion by heart: right for half of the questions."""
    import torch
    from byte_tokenizer import byte_tokenizer
    from tiny_student import tiny_config
    from transformers import LlamaForCausalLM

    from mbt_lite.student.chat_template import prompt_ids

    asked = [prompts.student_messages(question(number)) for number in range(6)]
    tokenizer = byte_tokenizer([message["content"] for messages in asked for message in messages], 400)
    torch.manual_seed(0)
    model = LlamaForCausalLM(tiny_config(tokenizer, hidden_size=64, intermediate_size=128, num_hidden_layers=1))
    target = tokenizer("<think>So.</think><answer>Rome</answer>", add_special_tokens=False)["input_ids"]
    target = [*target, tokenizer.eos_token_id]
    prompted = [prompt_ids(tokenizer, messages) for messages in asked]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(120):
        ids = torch.tensor([prompted[step % 6] + target])
        labels = torch.tensor([[-100] * len(prompted[step % 6]) + target])
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="needs lm-evaluation-harness: pip install lm-eval"
)
@pytest.mark.filterwarnings("default")
def test_the_harness_gives_the_exact_match_of_eval(questions: Path, tmp_path: Path) -> None:
    import lm_eval
    from lm_eval.tasks import TaskManager

    from mbt_lite.generation.decoding import Decoding
    from mbt_lite.generation.generate import generate
    from mbt_lite.recipe.schema import Model
    from mbt_lite.student.loading import load_student

    folder = tmp_path / "student"
    taught_student(folder)
    asked = [question(number) for number in range(6)]
    student = load_student(Model(name=str(folder), quantization="none", dtype="float32"))
    decoding = Decoding(max_completion_tokens=40, batch_size=6)
    rollouts = generate(student, [prompts.student_messages(one) for one in asked], decoding)
    ours = {
        asked[one.prompt_index].question_id: score_completion(
            asked[one.prompt_index], Completion(asked[one.prompt_index].question_id, 0, one.text, "stop", 1, 1), "base"
        ).exact_match
        for one in rollouts
    }
    metadata = {"questions": str(questions)}
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(folder), "dtype": "float32", "device": "cpu"},
        tasks=["mbt_lite"],
        task_manager=TaskManager(include_path=str(FOLDER), include_defaults=False, metadata=metadata),
        metadata=metadata,
        apply_chat_template=True,
        gen_kwargs={"max_gen_toks": 40},
        batch_size=2,
    )
    theirs = {
        json.loads(one["doc"]["question"])["question_id"]: one["exact_match"] for one in found["samples"]["mbt_lite"]
    }
    assert theirs == ours
    assert sum(ours.values()) == 3, "the student should be right on half of the questions"
    assert found["results"]["mbt_lite"]["exact_match,none"] == pytest.approx(0.5)
