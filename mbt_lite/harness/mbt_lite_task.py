"""What the task file names: the questions, the prompt of one, the scores of its completion."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mbt_lite import prompts
from mbt_lite.data.questions import read_questions
from mbt_lite.errors import DataError
from mbt_lite.metrics.predictions import score_completion
from mbt_lite.recipe.schema import Questions
from mbt_lite.records import Completion, Question, from_row, to_row


def load(questions: str | None = None, prefilled_think: bool = False, **_: Any) -> dict[str, Any]:
    """Read the questions as the harness wants them; it passes its `--metadata`, and keys of its own.

    Raises DataError without a file.
    """
    from datasets import Dataset

    if questions is None:
        raise DataError('lm_eval: no questions; add --metadata \'{"questions": "runs/RUN/eval/questions.jsonl"}\'')
    if not Path(questions).is_file():
        raise DataError(f"{questions}: no such file; name the questions.jsonl of a run's eval folder")
    rows = [
        # one text, so that the table's types are the same whatever a question lacks
        {"question": json.dumps(to_row(question)), "answer": question.answer, "prefilled_think": prefilled_think}
        for question in read_questions(Questions(path=questions), seed=0)
    ]
    return {"test": Dataset.from_list(rows)}


def _question(doc: Mapping[str, Any]) -> Question:
    return from_row(Question, json.loads(doc["question"]), "lm_eval document")


def prompt(doc: Mapping[str, Any]) -> str:
    """Give the user message that eval sends; the harness puts it into the chat template."""
    return prompts.student_messages(_question(doc))[0]["content"]


def score(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Score one completion by our rules."""
    question = _question(doc)
    # the harness does not say how a completion ended; no answer metric asks
    completion = Completion(question.question_id, 0, results[0], "stop", 0, 0)
    scored = score_completion(question, completion, "lm_eval", prefilled_think=doc["prefilled_think"])
    return {"exact_match": scored.exact_match, "f1": scored.f1, "answered": scored.answered}
