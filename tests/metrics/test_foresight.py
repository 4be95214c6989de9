"""Forecasts held against what came, as eval reports it: values worked out by hand."""

import dataclasses
from typing import Any

import pytest

from mbt_lite.metrics.foresight import foresight
from mbt_lite.metrics.predictions import score_completion
from mbt_lite.prompts import completion_text
from mbt_lite.records import Completion, Document, Question
from mbt_lite.rewards.meta import write_forecast


def question(name: str) -> Question:
    return Question(
        question_id=name,
        question=f"Where was the director of {name} Garden born?",
        answer="Oakford",
        aliases=(),
        documents=(
            Document(f"{name} Garden", f"{name} Garden was directed by Frank Fisher.", True),
            Document("Frank Fisher", "Frank Fisher was born in Oakford.", True),
            Document("Leon Spencer", "Leon Spencer was born in Millham.", False),
        ),
        source="synthetic",
        bridges=("Frank Fisher",),
    )


QUESTIONS = {name: question(name) for name in ("Silent", "Lost", "Wild")}


def told(name: str, links: list[str], right: int, tokens: int) -> Completion:
    return Completion(name, 0, completion_text("so", write_forecast(links, right, tokens)), "stop", 9, 30)


def card(right: dict[str, int], forecasts: list[Completion], **changes: Any) -> dict[str, Any]:
    """Give the figures; of each question's two answers so many are right, with 90 and 120 tokens."""
    asked = {name: dataclasses.replace(one, **changes) for name, one in QUESTIONS.items()}
    rows = []
    for name, n_right in right.items():
        for index in range(2):
            text = completion_text("By Frank Fisher.", "Oakford") if index < n_right else completion_text("Hm.", "?")
            one = Completion(name, index, text, "stop", 9, 90 + 30 * index)
            rows.append(score_completion(asked[name], one, "sft"))
    by_id = {one.question_id: one for one in forecasts}
    settings: dict[str, Any] = {"tolerance": 0.1, "law": "masa", "prefilled_think": False, "samples": 50, "seed": 0}
    return foresight(asked, rows, by_id, **settings)


FORECASTS = [
    told("Silent", ["Frank Fisher"], 8, 100),
    told("Lost", ["Frank Fisher", "Leon Spencer"], 4, 500),
    Completion("Wild", 0, "I do not know.", "stop", 9, 5),
]


def means(found: dict[str, Any]) -> dict[str, tuple[float | None, int]]:
    return {name: (estimate["mean"], estimate["n"]) for name, estimate in found["metrics"].items()}


def test_figures_by_hand() -> None:
    found = means(card({"Silent": 2, "Lost": 1, "Wild": 0}, FORECASTS))
    assert found["parsed"] == (pytest.approx(2 / 3), 3)
    assert found["links"] == (pytest.approx(1.5 / 3), 3)
    assert found["tokens"] == (pytest.approx(1 / 3), 3)
    assert found["rate"] == (pytest.approx(2 / 3), 3)
    assert found["total"] == (pytest.approx((1 + 0.5 + 0) / 3), 3)
    # two titles are not asked about, one is the bridge; the name hits where more right than wrong traces have it
    assert found["constant_links"] == (pytest.approx((0.5 + 0.5 + 0) / 3), 3)
    assert found["constant_tokens"] == (pytest.approx(2 / 3), 3)
    # 4 of 8: 0.1, 1, 0.1; the ends: 1, 0.1, 0.01
    assert found["constant_rate"] == (pytest.approx(1.2 / 3), 3)
    assert found["constant_total"] == (pytest.approx((1 / 3 + 2 / 3 + 0.4) / 3), 3)
    assert found["bridge_precision"] == (pytest.approx(0.75), 2)
    assert found["bridge_recall"] == (pytest.approx(2 / 3), 3)
    assert found["bridge_chance"] == (0.5, 3)


def test_reliability_has_a_row_a_rate_that_was_foretold() -> None:
    found = card({"Silent": 2, "Lost": 1, "Wild": 0}, [*FORECASTS[:2], told("Wild", ["X"], 8, 9)])
    assert found["reliability"] == [
        {"right_of_8": 4, "n": 1, "rate": 0.5}, {"right_of_8": 8, "n": 2, "rate": 0.5},
    ]  # fmt: skip
    assert means(found)["auroc"] == (0.25, 3)


def test_a_forecast_that_was_cut_off_is_none() -> None:
    cut = dataclasses.replace(FORECASTS[0], finish_reason="length")
    assert means(card({"Silent": 2}, [cut]))["total"] == (0.0, 1)


def test_without_bridges_nothing_is_said_of_them() -> None:
    found = card({"Silent": 2, "Lost": 0, "Wild": 0}, FORECASTS, bridges=())
    assert found["metrics"]["bridge_recall"]["mean"] is None
    for name in ("bridge_precision", "bridge_recall", "bridge_chance"):
        assert found["metrics"][name]["undefined_reason"] == "no question has gold bridges"
    unnamed = card({"Wild": 1}, FORECASTS[2:])["metrics"]["bridge_precision"]
    assert unnamed["undefined_reason"] == "no forecast of a question with gold bridges names anything"
    assert card({"Silent": 2}, FORECASTS, bridges_are_titles=True)["bridges_are_titles"] is True


def test_where_no_forecast_tells_a_rate_that_is_the_reason() -> None:
    found = card({"Wild": 1}, FORECASTS[2:])["metrics"]["auroc"]
    assert (found["mean"], found["n"], found["undefined_reason"]) == (None, 0, "no forecast tells a rate")
