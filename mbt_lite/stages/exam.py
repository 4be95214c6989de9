"""What every variant is asked in eval: the dev questions, trimmed until each prompt fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from mbt_lite import prompts
from mbt_lite.data.answer_keys import read_answer_keys
from mbt_lite.data.control_tokens import refuse_control_tokens
from mbt_lite.data.questions import read_questions
from mbt_lite.data.trimming import trim_questions
from mbt_lite.errors import DataError
from mbt_lite.metrics.answers import rules_for
from mbt_lite.metrics.confidences import why_no_evidence
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Question
from mbt_lite.student.token_counts import TokenCounts


@dataclasses.dataclass(frozen=True, slots=True)
class Exam:
    """What every variant is asked: the trimmed questions, and the ones that do not fit, with the reason."""

    questions: tuple[Question, ...]
    left_out: tuple[Mapping[str, str], ...]
    n_trimmed: int
    counts: TokenCounts

    @property
    def without_evidence(self) -> list[Question]:
        """Give the questions without the documents that support their answers; those that can be asked so."""
        return [
            dataclasses.replace(one, documents=tuple(doc for doc in one.documents if not doc.is_supporting))
            for one in self.questions
            if why_no_evidence(one) is None
        ]


def read_dev_questions(recipe: Recipe) -> list[Question]:
    """Read the dev questions; DataError for one that could be answered but not scored: its source has no rules."""
    dev, aliases_path = recipe.data.dev, recipe.eval.aliases_path
    questions = read_questions(dev, recipe.data.seed)
    if aliases_path is not None:
        keys = read_answer_keys(Path(dev.path), dev.layout, Path(aliases_path))
        questions = [dataclasses.replace(one, aliases=keys[one.question_id].aliases) for one in questions]
    for question in questions:
        try:
            rules_for(question.source)
        except DataError as error:
            raise DataError(f"{recipe.data.dev.path}: question {question.question_id}: {error}") from error
    return questions


def set_exam(recipe: Recipe) -> Exam:
    """Read the dev questions and drop distractors until each prompt fits; loads the tokenizer only."""
    from mbt_lite.generation import local

    questions, counts = read_dev_questions(recipe), local.read_counts(recipe.model)
    metacognitive = any(variant.is_metacognitive for variant in recipe.eval.full_variants)
    limit = recipe.data.max_prompt_tokens

    def count_tokens(question: Question) -> int:
        asked = counts.prompt(prompts.student_messages(question, metacognitive=metacognitive))
        if not recipe.eval.foresight:
            return asked
        return max(asked, counts.prompt(prompts.meta_messages(question, metacognitive=metacognitive)))

    fitted = trim_questions(questions, limit, count_tokens, recipe.data.dev.path)
    refuse_control_tokens(fitted.questions, counts.controls, recipe.data.dev)
    reason = f"prompt longer than {limit} tokens even without distractors"
    left_out = tuple({"question_id": one.question_id, "reason": reason} for one in fitted.too_long)
    return Exam(fitted.questions, left_out, fitted.n_trimmed, counts)
