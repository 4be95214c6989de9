"""The gold answer of every real row, given as a prediction, scores 1: if not, the scorer is wrong, not the model."""

import json
from pathlib import Path
from typing import Any

import pytest
from gold_rows import gold_findings

from mbt_lite.metrics.predictions import score_completion
from mbt_lite.recipe.schema import RewardWeights
from mbt_lite.records import Completion, Question
from mbt_lite.rewards.law import score
from mbt_lite.rewards.terms import RewardLimits

FILES = {
    "musique_ans_dev_100.jsonl": ("musique", 100),
    "musique_ans_train_100.jsonl": ("musique", 100),
    "musique_odd_answers_100.jsonl": ("musique", 100),
    "hotpot_dev_distractor_100.json": ("hotpot", 100),
    "hotpot_train_100.json": ("hotpot", 100),
    "hotpot_dev_distractor_50.hf.jsonl": ("hotpot", 50),
    "2wikimultihop_dev_150.json": ("2wiki", 150),
}
LIMITS = RewardLimits(max_completion_tokens=512, verification_words=40, overlong_buffer_tokens=64)
ALL_TERMS = RewardWeights(answer=1.0, exact=0.5, format=0.2, keep=0.5, dwell=0.2, redundancy=0.2, length=0.2)


def questions(path: Path, source: str) -> list[Question]:
    content = path.read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = (
        [json.loads(line) for line in content.splitlines()] if path.suffix == ".jsonl" else json.loads(content)
    )
    return [
        Question(
            question_id=row["id"] if "id" in row else row["_id"],
            question=row["question"],
            answer=row["answer"],
            aliases=tuple(row["answer_aliases"]) if source == "musique" else (),
            documents=(),
            source=source,
        )
        for row in rows
    ]


@pytest.mark.parametrize("name", FILES)
def test_every_gold_and_alias_scores_1_on_every_metric_and_term(shared_data: Path, name: str) -> None:
    source, n_rows = FILES[name]
    asked = questions(shared_data / name, source)
    assert len(asked) == n_rows
    for question in asked:
        for gold in question.golds:
            text = f"<think>\nSo: {gold}.\n</think>\n\n<answer>{gold}</answer>"
            prediction = score_completion(question, Completion(question.question_id, 0, text, "stop", 1, 20), "base")
            assert (prediction.exact_match, prediction.f1, prediction.substring_match) == (1, 1.0, 1), gold
            terms = score(text, stopped=True, completion_tokens=20, golds=question.golds, limits=LIMITS)
            assert (terms["answer"], terms["exact"], terms["format"], terms["keep"]) == (1, 1, 1, 0), gold


@pytest.mark.parametrize("name", FILES)
def test_every_real_row_passes_the_gold_dry_run(shared_data: Path, name: str) -> None:
    for question in questions(shared_data / name, FILES[name][0]):
        assert gold_findings(question, RewardWeights().model_dump(), LIMITS) == []
        assert gold_findings(question, ALL_TERMS.model_dump(), LIMITS) == []
