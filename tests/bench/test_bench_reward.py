"""The benchmark of the reward compares like with like, and says what it measured."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mbt_lite import cli
from mbt_lite.bench.completions import make_completions
from mbt_lite.bench.measurement import read_measurements
from mbt_lite.bench.reward import Batch, check_agreement, make_forms, take_turns
from mbt_lite.errors import MbtError
from mbt_lite.rewards import law
from mbt_lite.rewards.terms import RewardLimits

LIMITS = RewardLimits(max_completion_tokens=50, verification_words=2, overlong_buffer_tokens=20)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    pytest.importorskip("transformers", reason="needs the training stack: pip install 'mbt-lite[train]'")
    from byte_tokenizer import byte_tokenizer

    return byte_tokenizer(["According to document 1 we read that the answer", "<think></think><answer></answer>"], 400)


def test_make_completions_are_as_long_as_asked_and_of_every_kind(tokenizer: Any) -> None:
    made = make_completions(tokenizer, prompts=3, group_size=8, tokens=200)
    assert {len(ids) for ids in made.ids} == {200}
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in made.ids]
    assert all(text.isascii() and text.startswith("<think>\n") for text in texts)
    stopped = [ids[-1] == made.stop_id for ids in made.ids]
    assert stopped == ([True, True, True, False, True, True, True, True] * 3)
    rows = [
        law.score(text, stopped=done, completion_tokens=40, golds=golds, limits=LIMITS)
        for text, done, golds in zip(texts, stopped, made.golds, strict=True)
    ]
    assert [row["exact"] for row in rows[:8]] == [1, 0, 1, 0, 1, 0, 1, 1]
    assert len({made.golds[0], made.golds[8], made.golds[16]}) == 3
    assert made == make_completions(tokenizer, prompts=3, group_size=8, tokens=200)


def test_forms_agree_before_they_are_timed(tokenizer: Any) -> None:
    completions = make_completions(tokenizer, prompts=2, group_size=4, tokens=120)
    forms = make_forms(tokenizer, completions, LIMITS)
    check_agreement(forms)
    assert "law" in forms
    wrong = forms | {"kernel": lambda: [{"answer": 0.5}] * 8}
    with pytest.raises(MbtError, match=r"the kernel and the law differ on row 0 \(got {'answer': 0.5}"):
        check_agreement(wrong)


def test_take_turns_times_every_form_in_every_round() -> None:
    calls: list[str] = []
    seconds = take_turns({"one": lambda: calls.append("one"), "other": lambda: calls.append("other")}, runs=3)
    assert calls == ["one", "other"] * 3
    assert {form: len(taken) for form, taken in seconds.items()} == {"one": 3, "other": 3}


def test_reward_command_appends_its_figures(tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mbt_lite.bench.reward.load_tokenizer", lambda model: tokenizer)
    file = tmp_path / "rows.jsonl"
    arguments = ["bench", "reward", "--tokens", "100", "--prompts", "2", "--group-size", "4", "--runs", "2"]
    result = CliRunner().invoke(cli.app, [*arguments, "--append", str(file)])
    assert result.exit_code == 0, result.output
    [row] = read_measurements(file)
    assert re.search(r"the law [\d.]+ ms.* \(8 completions of 100 tokens, decoding included, median of 2", row.result)
    assert row.settings["group_size"] == 4
    assert row.figures["milliseconds"]["law"] > 0


def test_measure_reward_times_nothing_that_does_not_agree(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mbt_lite.bench import reward

    monkeypatch.setattr("mbt_lite.bench.reward.load_tokenizer", lambda model: tokenizer)
    forms = {"law": lambda: [{"exact": 1.0}], "kernel": lambda: [{"exact": 2.0}]}
    monkeypatch.setattr(reward, "make_forms", lambda *_: forms)
    monkeypatch.setattr(reward, "take_turns", lambda *_: pytest.fail("timed"))
    with pytest.raises(MbtError, match="the kernel and the law differ"):
        reward.measure_reward("any", Batch(1, 4, 100), 1, print)
