from pathlib import Path

import pytest

from mbt_lite.data.held_out import read_left_over
from mbt_lite.data.questions import read_questions
from mbt_lite.errors import DataError
from mbt_lite.recipe.schema import Questions

DEV = Path(__file__).parents[2] / "data_samples" / "demo_dev.jsonl"


@pytest.mark.parametrize("seed", [0, 1])
def test_read_left_over_gives_what_limit_does_not_choose(seed: int) -> None:
    source = Questions(path=str(DEV), limit=72)
    chosen = {question.question_id for question in read_questions(source, seed)}
    left = {question.question_id for question in read_left_over(source, seed, 24)}
    every = {question.question_id for question in read_questions(Questions(path=str(DEV)), seed)}
    assert not chosen & left
    assert chosen | left == every


@pytest.mark.parametrize(("limit", "left"), [(72, 24), (None, 0)])
def test_read_left_over_refuses_when_too_few_are_left(limit: int | None, left: int) -> None:
    with pytest.raises(DataError, match=rf"a limit of {limit} leaves {left} of 96 .* \(got grpo.dev_questions 25\); "):
        read_left_over(Questions(path=str(DEV), limit=limit), 0, 25)
