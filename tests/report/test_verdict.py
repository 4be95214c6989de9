"""The sentence at the top of a report is made of the numbers below it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from made_up_run import estimate

from mbt_lite.report.contents import Report, Run
from mbt_lite.report.verdict import verdicts


def with_paired(run: Run, difference: dict[str, Any]) -> Run:
    paired = {"base": {"n": 64, "metrics": {}, "mcnemar": None}, "metacognitive": {"n": 64, "mcnemar": None}}
    paired["metacognitive"]["metrics"] = {"exact_match": difference}
    return dataclasses.replace(run, metrics={**run.metrics, "sft": {**run.metrics["sft"], "paired": paired}})


@pytest.mark.parametrize(
    ("p", "said"),
    [(0.0004, "p < 0.001, hardly luck"), (0.049, "p 0.049, hardly luck"), (0.05, "p 0.050, may be luck")],
)
def test_verdict_is_of_the_last_variant_against_the_one_before_it(p, said, make_run: Callable[..., Run]) -> None:
    difference = {"difference": 0.25, "low": -0.015, "high": 0.4, "p": p}
    assert verdicts(Report((with_paired(make_run(), difference),))) == [
        "sft answers 50.0% [40.0, 60.0] of 64 questions right, metacognitive 25.0% [15.0, 35.0]: "
        f"+25.0 points [-1.5, +40.0], {said}."
    ]


def test_verdict_of_equal_answers_is_no_difference(make_run: Callable[..., Run]) -> None:
    run = with_paired(make_run(), {"difference": 0.0, "low": None, "high": None, "p": 1.0})
    assert verdicts(Report((run,)))[0].endswith(": the same questions, so no difference.")


def test_verdict_of_one_question_tells_the_difference_without_an_interval(make_run: Callable[..., Run]) -> None:
    run = with_paired(make_run(), {"difference": -1.0, "low": None, "high": None, "p": 1.0})
    assert verdicts(Report((run,)))[0].endswith(": -100.0 points (one question: no interval), p 1.000, may be luck.")


def test_verdict_of_questions_that_were_trained_on_says_so(make_run: Callable[..., Run]) -> None:
    run = with_paired(make_run(), {"difference": 0.1, "low": 0.05, "high": 0.2, "p": 0.01})
    run.metrics["sft"]["in_train"] = {"said": ["data.dev: 3 of 64 questions are in data.train"]}  # type: ignore[index]
    assert verdicts(Report((run,)))[0].endswith("hardly luck. Some of the questions were trained on: see the remarks.")


def test_verdict_of_one_variant_or_of_no_answers_claims_nothing(make_run: Callable[..., Run]) -> None:
    run = make_run()
    assert verdicts(Report((run,)))[0].endswith("there is nothing to compare it with.")
    run.metrics["sft"]["metrics"]["exact_match"] = estimate(None, None, None, 0)
    assert verdicts(Report((run,)))[0].startswith("sft answers none of 64 questions right;")


def test_verdict_of_two_runs_compares_them_too(make_run: Callable[..., Run]) -> None:
    runs = make_run(name="one"), make_run(name="other")
    said = verdicts(Report(runs))
    assert [line.partition(" answers")[0] for line in said] == ["one/sft", "other/sft", "other/sft"]
    assert said[2].endswith(", one/sft 50.0% [40.0, 60.0]: the same questions, so no difference.")
    fewer = verdicts(Report((runs[0], make_run(4, name="other"))))
    assert len(fewer) == 2
