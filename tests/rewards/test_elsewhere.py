"""The law as other trainers call it gives the law's rewards: by signature here, by TRL's own trainer below."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mbt_lite.errors import RecipeError
from mbt_lite.rewards.elsewhere import compute_score, rubric_reward, trace_reward, trl_reward
from mbt_lite.rewards.law import score, total
from mbt_lite.rewards.terms import TERMS, RewardLimits

ROOT = Path(__file__).parents[2]
LIMITS = RewardLimits(max_completion_tokens=20, verification_words=1, overlong_buffer_tokens=10)
ALL = {name: 1.0 for name in TERMS}
TOLD = {name: 1.0 for name in TERMS if name not in ("format", "length")}
STOP = 7
RIGHT = "<think>It is Rome, is it, or is it?</think><answer>Rome</answer>"
LOST = "<think>It is Rome.</think><answer>Paris</answer>"


def law(text: str, *, stopped: bool, tokens: int, golds: list[str]) -> float:
    return total(score(text, stopped=stopped, completion_tokens=tokens, golds=golds, limits=LIMITS), ALL)


def test_trl_reward_is_the_law_of_each_row() -> None:
    reward = trl_reward(ALL, LIMITS, [STOP])
    completions = [[{"role": "assistant", "content": RIGHT}], [{"role": "assistant", "content": LOST}]]
    ids, golds = [[1, 2, STOP], list(range(18))], [["Rome"], ["Rome", "Roma"]]
    assert reward(prompts=["?", "?"], completions=completions, completion_ids=ids, golds=golds, trainer_state=None) == [
        law(RIGHT, stopped=True, tokens=3, golds=["Rome"]),
        law(LOST, stopped=False, tokens=18, golds=["Rome", "Roma"]),
    ]
    assert reward(completions=[RIGHT], completion_ids=[[STOP]], golds=["Rome"]) == [
        law(RIGHT, stopped=True, tokens=1, golds=["Rome"])
    ]


@pytest.mark.parametrize("golds", ["Rome", ["Rome", "Roma"]])
def test_verl_and_rubrics_get_the_terms_that_a_text_tells(golds: str | list[str]) -> None:
    scored = compute_score("musique", LOST, golds, {"index": 1}, weights=TOLD, verification_words=1)
    assert scored == {"score": -1.0, "answer": 0.0, "exact": 0.0, "keep": -1.0, "dwell": 0.0, "redundancy": 0.0}
    reward = rubric_reward(TOLD, verification_words=1)
    assert reward(completion=[{"role": "assistant", "content": LOST}], answer=golds) == -1.0
    # right, and exact; four words of eight more than the one that may follow the first mention
    assert reward(completion=RIGHT, answer=golds) == pytest.approx(2 - 4 / 8)


def test_verls_call_fits() -> None:
    given = {"data_source": "musique", "solution_str": RIGHT, "ground_truth": "Rome", "extra_info": {"num_turns": 1}}
    assert compute_score(**given) == compute_score(*given.values())
    inspect.signature(compute_score).bind(**given, weights={"answer": 1.0})


def test_a_trace_of_verifiers_is_scored_by_the_whole_law() -> None:
    reward = trace_reward(ALL, LIMITS)
    trace = SimpleNamespace(last_reply=RIGHT, is_truncated=False, num_output_tokens=15, usage=object())
    assert reward(SimpleNamespace(golds=["Rome"]), trace) == law(RIGHT, stopped=True, tokens=15, golds=["Rome"])
    assert list(inspect.signature(reward).parameters) == ["task", "trace"]
    trace.usage = None
    with pytest.raises(RecipeError, match="counts no tokens, which length needs; set length to 0"):
        reward(SimpleNamespace(golds=["Rome"]), trace)


@pytest.mark.parametrize("name", ["format", "length", "style"])
def test_weights_that_nothing_tells_are_refused(name: str) -> None:
    told = rf"^reward weights: not of these terms here \(got {name}\); weigh answer, exact, keep, dwell, redundancy$"
    with pytest.raises(RecipeError, match=told):
        compute_score("musique", RIGHT, "Rome", weights={name: 1.0})
    with pytest.raises(RecipeError, match=told):
        rubric_reward({name: 1.0})
    if name == "style":
        with pytest.raises(RecipeError, match="got style"):
            trl_reward({name: 1.0}, LIMITS, [])


def test_the_page_of_growth_trains_by_trls_own_trainer(student_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")
    small = {
        "data.train.limit": 4, "grpo.steps": 1, "grpo.prompts_per_step": 2, "grpo.group_size": 2,
        "grpo.micro_batch_size": 2, "grpo.max_completion_tokens": 8, "grpo.reward.overlong_buffer_tokens": 4,
        "lora.rank": 2,
    }  # fmt: skip
    settings = [word for name, value in small.items() for word in ("--set", f"{name}={value}")]
    script = [sys.executable, "recipes/growth/grpo_trl.py", "recipes/demo.yaml", str(student_folder), str(tmp_path)]
    done = subprocess.run([*script, "--use-cpu", *settings], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rewards/mbt_law/mean" in done.stdout
    assert json.loads((tmp_path / "adapter_config.json").read_text())["r"] == 2
