"""Questions that a `limit` leaves over: held out from training and from the figures of eval, good to choose by."""

from __future__ import annotations

from mbt_lite.data.questions import read_questions
from mbt_lite.errors import DataError
from mbt_lite.recipe.schema import Questions
from mbt_lite.records import Question


def read_left_over(source: Questions, seed: int, wanted: int) -> list[Question]:
    """Read the questions of a source that `limit` and `seed` do not choose, in file order.

    Raises DataError if they are fewer than `wanted`.
    """
    chosen = {question.question_id for question in read_questions(source, seed)}
    every = read_questions(source.model_copy(update={"limit": None}), seed)
    left = [question for question in every if question.question_id not in chosen]
    if len(left) < wanted:
        raise DataError(
            f"{source.path}: a limit of {source.limit} leaves {len(left)} of {len(every)} questions to choose adapters "
            f"by (got grpo.dev_questions {wanted}); lower data.dev.limit or grpo.dev_questions"
        )
    return left
