"""When an export answers as the student did, by hand."""

from collections.abc import Sequence

import pytest

from mbt_lite.export.answers import Answered, Comparison
from mbt_lite.records import Prediction

RIGHT, WRONG, NONE = (1, 1, 100), (0, 1, 100), (0, 0, 100)


def answered(rows: Sequence[tuple[int, int, int]]) -> Answered:
    """Make predictions of (exact match, answered, tokens)."""
    return Answered(
        tuple(
            Prediction(
                question_id=f"q{number}", variant="export", rollout_index=0, text="", finish_reason="stop",
                completion_tokens=tokens, answer=str(right) if is_answered else None, golds=("1",), exact_match=right,
                f1=float(right), substring_match=right, answered=is_answered, stopped=1, degenerate=0, answer_hit=0,
            )
            for number, (right, is_answered, tokens) in enumerate(rows)
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("student", "export", "holds"),
    [
        ([RIGHT] * 24, [RIGHT] * 24, True),
        ([RIGHT] * 24, [RIGHT] * 22 + [WRONG] * 2, True),
        ([RIGHT] * 24, [RIGHT] * 21 + [WRONG] * 3, False),
        ([WRONG] * 24, [WRONG] * 21 + [NONE] * 3, False),
        ([WRONG] * 24, [WRONG] * 21 + [RIGHT] * 3, False),
        ([RIGHT] * 200, [RIGHT] * 194 + [WRONG] * 6, True),
        ([RIGHT] * 200, [RIGHT] * 193 + [WRONG] * 7, False),
        ([RIGHT] * 24, [(1, 1, 105)] * 24, True),
        ([RIGHT] * 24, [(1, 1, 106)] * 24, False),
        ([RIGHT] * 24, [RIGHT] * 22 + [(1, 1, 2048)] * 2, True),
        ([RIGHT], [NONE], True),
    ],
    ids=[
        "equal", "two wrong of 24", "three wrong of 24", "three without an answer", "three better is another model too",
        "3 points", "3.5 points", "5 % longer", "6 % longer", "two that never stop", "one question says nothing",
    ],
)  # fmt: skip
def test_comparison_holds_but_for_chance(student, export, holds) -> None:
    assert Comparison(answered(student), answered(export)).holds is holds


def test_comparison_says_both_and_what_is_equal() -> None:
    compared = Comparison(answered([RIGHT, RIGHT, WRONG, NONE]), answered([RIGHT, WRONG, WRONG, NONE]))
    assert str(compared) == (
        "4 questions of eval, answered greedily: the trained student EM 50.0 %, answered 75.0 %, 100 tokens; "
        "what was exported, read back, EM 25.0 %, answered 75.0 %, 100 tokens; 75.0 % of the answers are equal"
    )
