"""Forecasts in eval: asked beside the answers, journaled, scored, told; without the key nothing is asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eval_lab import Lab, make_lab, metrics

from mbt_lite.files import read_jsonl
from mbt_lite.generation.decoding import Rollout
from mbt_lite.prompts import completion_text
from mbt_lite.rewards.meta import write_forecast
from mbt_lite.stages import eval as stage


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    made = make_lab(tmp_path, monkeypatch)
    made.with_eval(variants=("base", "sft"), foresight=True)
    answer = made.generate

    def generate(student: str, asked: Any, decoding: Any, wanted: Any) -> Iterator[Rollout]:
        for rollout in answer(student, asked, decoding, wanted):
            if "Do not answer" in asked[rollout.prompt_index][-1]["content"]:
                assert decoding.temperature == 0
                assert decoding.samples == 1
                right = 8 if student == "sft" else 0
                text = completion_text("so", write_forecast(["Rivers"], right, 5))
                yield Rollout(rollout.prompt_index, 0, text, (1, 2, 3), "stop", 9)
            else:
                yield rollout

    monkeypatch.setattr("mbt_lite.generation.local.generate", generate)
    return made


def test_a_forecast_a_question_is_scored_beside_the_answers(lab: Lab) -> None:
    assert any("a forecast a question and variant: 12 in all" in one for one in stage.plan(lab.recipe, lab.run_dir))
    printed = lab.run()
    folder = lab.run_dir.path / "eval"
    assert len(read_jsonl(folder / "sft/forecasts.jsonl")) == len(read_jsonl(folder / "sft/completions.jsonl")) == 6
    found = metrics(lab, "sft")["foresight"]["metrics"]
    # all are right, and so was foretold
    assert found["rate"]["mean"] == found["constant_rate"]["mean"] == 1.0
    assert found["auroc"]["mean"] is None
    assert metrics(lab, "sft")["foresight"]["reliability"] == [{"right_of_8": 8, "n": 6, "rate": 1.0}]
    for said in ("forecasts read", "foretold rate", "best constant", "forecasts of sft: auroc undefined"):
        assert said in printed
    assert "Foretold and true rates" in (folder / "report.html").read_text()
    n_before = len(lab.generated)
    lab.run()
    assert len(lab.generated) == n_before


def test_forecasts_can_be_asked_of_a_run_that_has_none(lab: Lab) -> None:
    lab.with_eval(foresight=False)
    printed = lab.run()
    assert "foretold" not in printed
    assert metrics(lab, "sft")["foresight"] is None
    assert len(lab.generated) == 12
    assert not (lab.run_dir.path / "eval/sft/forecasts.jsonl").exists()


def test_a_stop_asks_no_forecast_twice(lab: Lab) -> None:
    lab.fail_after = 10
    with pytest.raises(KeyboardInterrupt):
        lab.run()
    lab.fail_after = None
    lab.run()
    assert len(lab.generated) == 24
