import dataclasses

import pytest

from mbt_lite.metrics.breakdown import break_down, tier
from mbt_lite.records import Prediction, Question


def asked(source: str, question_id: str = "q", **kind) -> Question:
    return Question(question_id, "Who?", "Ann", (), (), source, **kind)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        pytest.param(asked("musique", hops=2), "easy", id="musique 2 hops"),
        pytest.param(asked("musique", hops=3), "medium", id="musique 3 hops"),
        pytest.param(asked("musique", hops=4), "hard", id="musique 4 hops"),
        pytest.param(asked("musique"), None, id="musique without hops"),
        pytest.param(asked("hotpot", level="hard", question_type="comparison"), "hard", id="hotpot by its level"),
        pytest.param(asked("hotpot", question_type="comparison"), "easy", id="hotpot comparison without level"),
        pytest.param(asked("hotpot", question_type="bridge"), "medium", id="hotpot bridge without level"),
        pytest.param(asked("2wiki", question_type="comparison"), "easy", id="2wiki comparison"),
        pytest.param(asked("2wiki", question_type="inference"), "medium", id="2wiki inference"),
        pytest.param(asked("2wiki", question_type="compositional"), "medium", id="2wiki compositional"),
        pytest.param(asked("2wiki", question_type="bridge_comparison"), "hard", id="2wiki bridge comparison"),
        pytest.param(asked("2wiki", question_type="other"), None, id="2wiki other"),
        pytest.param(asked("synthetic", hops=4, level="hard"), "hard", id="our own"),
        pytest.param(asked("mbt", hops=3), "medium", id="our own without level"),
        pytest.param(asked("mbt", hops=7), None, id="seven hops"),
    ],
)
def test_tier(question: Question, expected: str | None) -> None:
    assert tier(question) == expected


ROW = Prediction(
    question_id="q", variant="sft", rollout_index=0, text="", finish_reason="stop", completion_tokens=10, answer="x",
    golds=("y",), exact_match=0, f1=0.0, substring_match=0, answered=1, stopped=1, degenerate=0, answer_hit=0,
)  # fmt: skip


def test_break_down_groups_questions_and_keeps_what_is_unknown() -> None:
    questions = {
        "a": asked("musique", "a", hops=2), "b": asked("musique", "b", hops=10), "c": asked("musique", "c", hops=2),
        "d": asked("musique", "d"),
    }  # fmt: skip
    rows = [dataclasses.replace(ROW, question_id=name, exact_match=int(name == "a")) for name in questions]
    found = break_down(rows, questions, samples=10, seed=0, only=["exact_match"])
    assert {name: list(groups) for name, groups in found.items()} == {
        "hops": ["10", "2", "unknown"], "tier": ["easy", "unknown"],
    }  # fmt: skip
    assert found["hops"]["2"]["n_questions"] == 2
    assert found["hops"]["2"]["metrics"]["exact_match"]["mean"] == 0.5
    assert sum(group["n_questions"] for group in found["tier"].values()) == 4


def test_break_down_puts_tiers_in_their_order() -> None:
    questions = {str(hops): asked("musique", str(hops), hops=hops) for hops in (4, 2, 3)}
    rows = [dataclasses.replace(ROW, question_id=name) for name in questions]
    assert list(break_down(rows, questions, samples=5, seed=0)["tier"]) == ["easy", "medium", "hard"]
