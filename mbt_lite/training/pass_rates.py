"""Pass rates of a student: how often it solves each question when it samples. Journaled, so nothing is sampled twice.

A question is journaled when all its samples are there. Each sample draws from a stream of its own, and `generate` goes
on as if it had never stopped: a run that was stopped finds the same rates as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from mbt_lite.console import Screen
from mbt_lite.errors import DataError, RecipeError
from mbt_lite.files import Journal, read_jsonl
from mbt_lite.memory import each_in_phase
from mbt_lite.progress import counting
from mbt_lite.prompts import student_messages
from mbt_lite.recipe.schema import Grpo, Recipe
from mbt_lite.records import Question
from mbt_lite.rewards.terms import exact_term
from mbt_lite.student.loading import Student
from mbt_lite.text.completion import parse_completion
from mbt_lite.traces.kinds import kind_named
from mbt_lite.traces.prefilter import sort_by_pass_rate
from mbt_lite.training.grpo_rollouts import rows_beside_steps, sample_by_student
from mbt_lite.training.processes import leader_first

# a multiple of the 1,009 that separates the seeds of steps would repeat one of them
_SEED_OFFSET = 500_009


def keep_worth_rollouts(
    recipe: Recipe, student: Student, questions: list[Question], rates: Path | None, folder: Path, console: Screen
) -> tuple[list[Question], dict[str, int]]:
    """Keep the questions worth rollouts (`grpo.prefilter`), and count the sorts; none are counted where it is off.

    Raises DataError if too few are left for a step.
    """
    grpo = recipe.grpo
    counts: dict[str, int] = {}
    if grpo.prefilter != "off":
        rows = read_pass_rates(rates) if rates else _measured_pass_rates(grpo, student, questions, folder, console)
        found = sort_by_pass_rate([question.question_id for question in questions], rows)
        questions = [question for question in questions if question.question_id in found.kept]
        counts = found.counts()
        said = ", ".join(f"{count} {name}" for name, count in counts.items())
        console.print(f"grpo: questions by pass rate: {said}; trains on {len(questions)}")
        _check_drafts(recipe, counts)
    if len(questions) < grpo.prompts_per_step:
        raise DataError(
            f"grpo.prompts_per_step: only {len(questions)} questions to train on (got {grpo.prompts_per_step}, "
            f"grpo.prefilter {grpo.prefilter}); give more questions, train sft longer, or lower it"
        )
    return questions, counts


def _check_drafts(recipe: Recipe, counts: dict[str, int]) -> None:
    """Refuse gen's drafts where they cannot tell: one a question, or another writer's."""
    if recipe.grpo.prefilter == "gen" and (
        kind_named(recipe.gen.kind).drafter != "student" or counts["unknown"] == sum(counts.values())
    ):
        raise RecipeError(
            [
                f"grpo.prefilter: gen has not two drafts a question by the student (got gen.kind {recipe.gen.kind}, "
                f"gen.rollouts_per_question {recipe.gen.rollouts_per_question}); set it to start or off"
            ]
        )


def _measured_pass_rates(
    grpo: Grpo, student: Student, questions: Sequence[Question], folder: Path, console: Screen
) -> list[dict[str, Any]]:
    """Sample completions of each question by the adapter that training starts from; what is journaled is kept.

    The leader samples, the other processes find its journal.
    """
    with (
        leader_first(),
        Journal(folder / "pass_rates.jsonl") as journal,
        counting(console, "grpo: pass rates", len(questions)) as step,
    ):
        return measure_pass_rates(student, questions, grpo, journal, step)


def measure_pass_rates(
    student: Student, questions: Sequence[Question], grpo: Grpo, journal: Journal, on_question: Callable[[], None]
) -> list[dict[str, Any]]:
    """Sample `grpo.prefilter_samples` completions of each question, as rollouts are; give all rows of the journal.

    A row: question_id, rollouts, correct (stopped by itself, and an exact match). `on_question` is called for each.
    """
    done = {row["question_id"] for row in read_pass_rates(journal.path)}
    for question in questions:
        if question.question_id in done:
            on_question()
    for row in _sample(student, questions, grpo, done):
        journal.append(row)
        on_question()
    return read_pass_rates(journal.path)


def read_pass_rates(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a journal of pass rates."""
    return read_jsonl(path, question_id=str, rollouts=int, correct=int)


def _sample(
    student: Student, questions: Sequence[Question], grpo: Grpo, done: Container[str]
) -> Iterator[dict[str, Any]]:
    """Give a row for each question that is not done, when its last sample has ended."""
    samples, seed = grpo.prefilter_samples, grpo.seed * 1_000_003 + _SEED_OFFSET
    prompts = [student_messages(question) for question in questions]
    rows = rows_beside_steps(student, grpo, prompts, samples)
    grpo = grpo.model_copy(update={"rollout_batch_size": rows})
    wanted = {index for index, question in enumerate(questions) if question.question_id not in done}
    correct: dict[int, list[bool]] = {index: [] for index in wanted}
    sampling = each_in_phase("scoring", sample_by_student)
    for rollout in sampling(student, prompts, grpo, samples, seed, wanted=wanted):
        question, found = questions[rollout.prompt_index], correct[rollout.prompt_index]
        answer = parse_completion(rollout.text, prefilled_think=student.prefills_think).answer
        found.append(rollout.finish_reason == "stop" and exact_term(answer, question.golds) == 1.0)
        if len(found) == samples:
            yield {"question_id": question.question_id, "rollouts": samples, "correct": sum(found)}
