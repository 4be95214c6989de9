import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from mbt_lite.records import Prediction
from mbt_lite.report.contents import Report, Run, Series
from mbt_lite.report.plane import said_again, stand_ins, thinking_plane, words_after_gold
from mbt_lite.rewards.terms import dwell_term


@pytest.fixture
def prediction(make_run: Callable[..., Run]) -> Prediction:
    return make_run(1).predictions["base"][0]


def judged(value: float, *, scripted: bool) -> dict[str, Any]:
    estimate = {"mean": value, "low": value - 0.1, "high": value + 0.1, "n": 30, "undefined_reason": None}
    return {
        "judge": "wise-one", "scripted": scripted,
        "metrics": {"overthinking": estimate, "underthinking": estimate | {"mean": 0.2}},
    }  # fmt: skip


def test_words_after_gold_is_their_share_of_a_right_trace(prediction: Prediction) -> None:
    right = dataclasses.replace(prediction, exact_match=1, words_to_mention=6, trace_words=24)
    assert words_after_gold(right) == 0.75
    assert words_after_gold(dataclasses.replace(right, exact_match=0)) is None
    assert words_after_gold(dataclasses.replace(right, words_to_mention=None)) is None


def test_words_after_gold_is_dwell_without_allowance(make_run: Callable[..., Run]) -> None:
    for row in make_run(6).predictions["base"]:
        trace = row.text.partition("<think>")[2].partition("</think>")[0]
        found = words_after_gold(row)
        dwell = dwell_term(trace, row.golds, exact=float(row.exact_match), verification_words=0)
        assert (found or 0.0) == pytest.approx(-dwell)


def test_said_again_looks_at_wrong_traces_only(prediction: Prediction) -> None:
    wrong = dataclasses.replace(prediction, exact_match=0, repeated_4grams=0.25)
    assert said_again(wrong) == 0.25
    assert said_again(dataclasses.replace(wrong, exact_match=1)) is None


def test_stand_ins_count_the_questions_they_are_defined_for(make_run: Callable[..., Run]) -> None:
    found = stand_ins(Series("base", make_run(60), "base"))
    # every fifth is right; of those two in three mention the gold
    assert (found["overthinking"]["n"], found["underthinking"]["n"]) == (8, 48)


def test_thinking_plane_names_its_stand_ins(make_report: Callable[..., Report]) -> None:
    plot = thinking_plane(make_report())
    assert plot.reading.startswith("Stand-ins by rule, no judge")
    assert [row[""] for row in plot.numbers] == ["base", "metacognitive", "sft"]
    assert plot.spec is not None
    assert "(stand-in)" in plot.spec["layer"][0]["encoding"]["y"]["title"]


@pytest.mark.parametrize("scripted", [False, True], ids=["a model", "scripted"])
def test_thinking_plane_takes_the_judge_where_there_is_one(scripted: bool, make_run: Callable[..., Run]) -> None:
    run = make_run(4)
    run.metrics["sft"]["judged"] = judged(0.5, scripted=scripted)  # type: ignore[index]
    plot = thinking_plane(Report((run,)))
    assert plot.reading.startswith("Judged by wise-one")
    assert ("no language model" in plot.reading) == scripted
    assert "Not judged: base, metacognitive." in plot.reading
    assert [row[""] for row in plot.numbers] == ["sft"]
    assert plot.numbers[0]["right traces: over"] == "50.0% [40.0, 60.0]"


def test_thinking_plane_says_who_cannot_be_placed(make_run: Callable[..., Run]) -> None:
    run = make_run(10)
    wrong = [dataclasses.replace(row, exact_match=0) for row in run.predictions["base"]]
    some = dataclasses.replace(run, predictions=run.predictions | {"base": wrong})
    assert "Not placed, for want of right or of wrong traces: base." in thinking_plane(Report((some,))).reading
    none = dataclasses.replace(run, predictions={"base": wrong}, metrics={"base": run.metrics["base"]})
    plot = thinking_plane(Report((none,)))
    assert plot.spec is None
    assert plot.missing == "No variant has both right and wrong traces: base: right n=0, wrong n=10."
