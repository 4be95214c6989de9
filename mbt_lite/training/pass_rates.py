"""Pass rates of a student: how often it solves each question when it samples. Journaled, so nothing is sampled twice.

Questions go in fixed chunks, shortest prompts first, each chunk with its own seed: a run that was stopped and goes on
finds the same rates as one that was not.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mbt_lite.files import Journal, read_jsonl
from mbt_lite.prompts import student_messages
from mbt_lite.recipe.schema import Grpo
from mbt_lite.records import Question
from mbt_lite.rewards.terms import exact_term
from mbt_lite.student.loading import Student
from mbt_lite.text.completion import parse_completion
from mbt_lite.training.grpo_rollouts import sample_by_student

# a multiple of the 1,009 that separates the seeds of steps would repeat one of them
_SEED_OFFSET = 500_009


def measure_pass_rates(
    student: Student, questions: Sequence[Question], grpo: Grpo, journal: Journal, on_question: Callable[[], None]
) -> list[dict[str, Any]]:
    """Sample `grpo.prefilter_samples` completions of each question, as rollouts are; give all rows of the journal.

    A row: question_id, rollouts, correct (stopped by itself, and an exact match). `on_question` is called for each.
    """
    done = {row["question_id"] for row in read_pass_rates(journal.path)}
    lengths = {q.question_id: student.count_prompt_tokens(student_messages(q)) for q in questions}
    ordered = sorted(questions, key=lambda question: (lengths[question.question_id], question.question_id))
    size = max(1, grpo.rollout_batch_size // grpo.prefilter_samples)
    for start in range(0, len(ordered), size):
        chunk = ordered[start : start + size]
        if any(question.question_id not in done for question in chunk):
            rows = _sample(student, chunk, grpo, grpo.seed * 1_000_003 + _SEED_OFFSET + start)
            journal.extend(row for row in rows if row["question_id"] not in done)
        for _ in chunk:
            on_question()
    return read_pass_rates(journal.path)


def read_pass_rates(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a journal of pass rates."""
    return read_jsonl(path, question_id=str, rollouts=int, correct=int)


def _sample(student: Student, questions: Sequence[Question], grpo: Grpo, seed: int) -> list[dict[str, Any]]:
    correct: collections.Counter[int] = collections.Counter()
    prompts = [student_messages(question) for question in questions]
    for rollout in sample_by_student(student, prompts, grpo, grpo.prefilter_samples, seed):
        golds = questions[rollout.prompt_index].golds
        answer = parse_completion(rollout.text, prefilled_think=student.prefills_think).answer
        correct[rollout.prompt_index] += rollout.finish_reason == "stop" and exact_term(answer, golds) == 1.0
    return [
        {"question_id": question.question_id, "rollouts": grpo.prefilter_samples, "correct": correct[index]}
        for index, question in enumerate(questions)
    ]
