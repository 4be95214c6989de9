"""A method, a reward term and an extra of one's own, each added in one place, through the whole stage."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from grpo_lab import recipe, run
from trl import GRPOTrainer

from mbt_lite.errors import ModelError, RecipeError
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.methods.attacks import GOLD, WRONG, Attacked
from mbt_lite.methods.law import Law
from mbt_lite.methods.method import Batch, Encode, Extra, PromptRow, Rewarded, Rule
from mbt_lite.prompts import student_messages
from mbt_lite.recipe.schema import Recipe, RewardWeights
from mbt_lite.records import Question
from mbt_lite.report.contents import curve
from mbt_lite.rewards.scorer import Scorer
from mbt_lite.rewards.terms import TERMS, Completion, Term
from mbt_lite.run_dir import RunDir
from mbt_lite.student.libraries import prepare
from mbt_lite.training import grpo as training


@dataclasses.dataclass
class Doubt:
    """Reward a completion for the surprise of its tokens, in the half of the rows that ask for it."""

    wrong: Sequence[str] = ()
    name = "doubt"
    wants_log_probs = True
    asks = (student_messages,)
    lays_out_steps = True
    batches: list[Batch] = dataclasses.field(default_factory=list)

    def rows(self, questions: Sequence[Question]) -> list[PromptRow]:
        """Give each question twice in a row, the second time to be doubted."""
        return [
            PromptRow(question, student_messages(question), {"doubted": doubted})
            for question in questions
            for doubted in (False, True)
        ]

    def passes(self, step: int, rows: Sequence[PromptRow], *, prefilled_think: bool) -> None:
        """Roll out all at once."""

    def reward(self, batch: Batch) -> Rewarded:
        """Give minus the mean log-probability, or nothing."""
        self.batches.append(batch)
        assert batch.log_probs is not None
        surprises = [-sum(row) / len(row) for row in batch.log_probs]
        rewards = [one * doubted for one, doubted in zip(surprises, batch.columns["doubted"], strict=True)]
        return Rewarded(rewards, {"surprise": surprises})

    def findings(self, questions: Sequence[Question], scorer: Scorer, encode: Encode) -> list[str]:
        """Find what the test says."""
        assert encode("we")
        return list(self.wrong)

    def attacked(self, questions: Sequence[Question], scorer: Scorer, encode: Encode) -> Attacked:
        """Fear nothing."""
        return Attacked(0, {GOLD: 1.0, WRONG: 0.0}, {}, ())

    def healthy_ranges(self) -> tuple[Rule, ...]:
        """Expect the impossible."""
        return (Rule("extra/surprise", -2.0, -1.0, above="it is surprised; look away"),)


@pytest.fixture(autouse=True)
def switches() -> None:
    prepare()


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def use(method: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(training, "choose_method", lambda grpo: method)
    return method


def test_a_method_of_ones_own_trains_through_the_stage(
    student_folder: Path, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = use(Doubt(), monkeypatch)
    said = run(recipe(student_folder, steps=3, micro_batch_size=8, max_completion_tokens=12), run_dir)
    folder = run_dir.stage_dir("grpo")
    assert [batch.step for batch in method.batches] == [1, 2, 3]
    for step, batch in enumerate(method.batches):
        # laid out: a step is a question, undoubted and doubted
        assert batch.columns["doubted"] == [False] * 4 + [True] * 4
        assert len(set(batch.columns["question_id"])) == 1
        rows = [row for row in read_jsonl(folder / "completions.jsonl") if row["step"] == step + 1]
        assert [row["reward"] for row in rows[:4]] == [0.0] * 4
        assert [row["reward"] for row in rows[4:]] == [row["extra/surprise"] for row in rows[4:]]
        assert [row["text"] for row in rows] == batch.texts
    assert len({batch.columns["question_id"][0] for batch in method.batches}) == 3
    metrics = [row for row in read_jsonl(folder / "metrics.jsonl") if "loss" in row]
    assert [row["zero_variance_share"] for row in metrics] == [0.5] * 3
    assert all(row["rewards/doubt/mean"] > 0 and row["extra/surprise"] > 0 for row in metrics)
    assert "extra/surprise is" in said
    assert "it is surprised; look away" in said
    assert read_json(folder / "done.json")["summary"]["steps"] == 3


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("shared", [True, False], ids=["packed", "TRL's own"])
def test_the_batchs_log_probs_are_trls(
    shared: bool, temperature: float, student_folder: Path, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = use(Doubt(), monkeypatch)
    monkeypatch.setattr(training, "shares_prompts", lambda student, model: shared)
    # without groups of equal rewards every row has a forward pass
    monkeypatch.setattr(Doubt, "reward", lambda self, batch: self.batches.append(batch) or Rewarded([*range(8)]))
    base = training.ReducedGRPOTrainer if shared else GRPOTrainer
    whole, theirs = base._get_per_token_logps_and_entropies, dict[tuple[int, ...], torch.Tensor]()

    def heard(self: Any, model: Any, ids: Any, mask: Any, width: int, *rest: Any, **settings: Any) -> Any:
        found = whole(self, model, ids, mask, width, *rest, **settings)
        for row, kept, log_probs in zip(ids[:, -width:], mask[:, -width:].bool(), found[0].detach(), strict=True):
            theirs[tuple(row[kept].tolist())] = log_probs[kept]
        return found

    monkeypatch.setattr(base, "_get_per_token_logps_and_entropies", heard)
    settings = {"steps": 1, "micro_batch_size": 8, "max_completion_tokens": 24, "temperature": temperature}
    run(recipe(student_folder, **settings), run_dir)
    [step] = [row for row in read_jsonl(run_dir.stage_dir("grpo") / "metrics.jsonl") if "loss" in row]
    assert step["mismatch/kl"] < 1e-6
    assert step["mismatch/largest"] < 1e-4
    assert step["mismatch/token_ess"] == pytest.approx(1.0, abs=1e-4)
    [batch] = method.batches
    assert batch.log_probs is not None
    for ids, ours in zip(batch.ids, batch.log_probs, strict=True):
        assert len(ours) == len(ids)
        assert torch.allclose(torch.tensor(ours), theirs[tuple(ids)], atol=1e-4, rtol=0)
    assert min(min(row) for row in batch.log_probs) < -1, "all certain: the test shows nothing"


def test_a_methods_findings_refuse_before_step_one(
    student_folder: Path, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(Doubt(wrong=["the gold completion is doubted"]), monkeypatch)
    with pytest.raises(RecipeError, match=r"grpo\.reward: the gold completion is doubted"):
        run(recipe(student_folder), run_dir)
    assert not read_jsonl(run_dir.stage_dir("grpo") / "completions.jsonl")


def test_log_probs_are_refused_from_vllm_before_anything_loads(
    student_folder: Path, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(Doubt(), monkeypatch)
    monkeypatch.setattr(training, "load_student", lambda *_, **__: pytest.fail("it went on"))
    with pytest.raises(ModelError, match=r"grpo.rollout_engine: doubt reads .* \(got vllm\); set it to local"):
        run(recipe(student_folder, rollout_engine="vllm"), run_dir)


class Wrong(Extra):
    """An extra that pays what is not exact."""

    name = "wrong"
    wants_log_probs = False

    def __call__(self, batch: Batch) -> list[float]:
        return [5.0 * (1 - terms["exact"]) for terms in batch.terms]


def test_an_extra_that_pays_the_wrong_is_refused_by_name(
    student_folder: Path, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(Law({"answer": 1.0}, 256, (Wrong(),)), monkeypatch)
    with pytest.raises(RecipeError, match=r"the extra `wrong` prefers it \(by 5\); lower its weight"):
        run(recipe(student_folder), run_dir)


class WithBrevity(RewardWeights):
    """The recipe's weights with the new term's."""

    brevity: float = 0.0


def brevity(completion: Completion) -> float:
    """Give minus the tokens beside the limit."""
    return -completion.tokens / completion.limits.max_completion_tokens


def weighed(made: Recipe, weights: RewardWeights) -> Recipe:
    reward = made.grpo.reward.model_copy(update={"weights": weights})
    return made.model_copy(update={"grpo": made.grpo.model_copy(update={"reward": reward})})


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_reward_term_of_ones_own_is_scored_logged_and_drawn(
    student_folder: Path, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TERMS, "brevity", Term(-1, 0, brevity))
    made = weighed(recipe(student_folder, steps=1), WithBrevity(answer=4.0, brevity=2.0))
    run(made, run_dir)
    folder = run_dir.stage_dir("grpo")
    rows = read_jsonl(folder / "completions.jsonl")
    assert all(row["terms"]["brevity"] == -row["completion_tokens"] / 256 for row in rows)
    assert [row["reward"] for row in rows] == [2 * row["terms"]["brevity"] + 4 * row["terms"]["answer"] for row in rows]
    metrics = read_jsonl(folder / "metrics.jsonl")
    mean = sum(row["terms"]["brevity"] for row in rows) / len(rows)
    assert metrics[0]["reward/brevity"] == pytest.approx(mean)
    assert curve("grpo", "reward/brevity", metrics).points
    assert "brevity -" in (folder / "completions.html").read_text()


def test_a_reward_term_that_pays_for_being_wrong_is_named_by_the_dry_run(
    student_folder: Path, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TERMS, "brevity", Term(-1, 0, brevity))
    with pytest.raises(RecipeError, match=r"a truncated completion scores no less .* the term `brevity` prefers it"):
        run(weighed(recipe(student_folder), WithBrevity(answer=0.01, brevity=2.0)), run_dir)
