"""The dev reward of each checkpoint, and the adapter that had the best.

At the start and with each checkpoint the policy answers held-out questions greedily; the law scores them. The adapter
is kept whenever it is the best so far, before its score is journaled: a score on disk has its adapter on disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback

from mbt_lite.console import Screen
from mbt_lite.files import Journal, read_jsonl, write_jsonl
from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.generate import generate
from mbt_lite.memory import each_in_phase
from mbt_lite.prompts import student_messages
from mbt_lite.recipe.schema import Grpo
from mbt_lite.records import Question
from mbt_lite.rewards.law import score, total
from mbt_lite.rewards.terms import RewardLimits
from mbt_lite.student.adapters import copy_adapter, save_adapter
from mbt_lite.student.loading import Student
from mbt_lite.training.grpo_rollouts import rows_beside_steps

# as many as checkpoints: a resume may go back to the older one, and needs the best of its time
_KEPT = 2


def score_greedily(
    student: Student, questions: Sequence[Question], grpo: Grpo, limits: RewardLimits
) -> dict[str, float]:
    """Answer questions greedily; give their number and means: reward, answer, exact, stop_rate, completion_tokens."""
    weights, prompts = grpo.reward.weights.model_dump(), [student_messages(question) for question in questions]
    sums = dict.fromkeys(("reward", "answer", "exact", "stop_rate", "completion_tokens"), 0.0)
    for rollout in each_in_phase("scoring", generate)(
        student,
        prompts,
        Decoding(
            max_completion_tokens=grpo.max_completion_tokens,
            batch_size=rows_beside_steps(student, grpo, prompts, 1),
            seed=grpo.seed,
            cache_gib=grpo.rollout_cache_gib,
        ),
    ):
        stopped = rollout.finish_reason == "stop"
        terms = score(
            rollout.text,
            stopped=stopped,
            completion_tokens=len(rollout.token_ids),
            golds=questions[rollout.prompt_index].golds,
            limits=limits,
            prefilled_think=student.prefills_think,
        )
        sums["reward"] += total(terms, weights)
        sums["answer"] += terms["answer"]
        sums["exact"] += terms["exact"]
        sums["stop_rate"] += stopped
        sums["completion_tokens"] += len(rollout.token_ids)
    return {"questions": len(questions)} | {name: value / len(questions) for name, value in sums.items()}


class BestByDev(TrainerCallback):
    """Score the policy by `score_policy` at the start and at each save; keep the best by one of its means.

    ::

        grpo/ dev_rewards.jsonl     step and means, one row a scoring
              best/step-N/          the adapter of each of the last two best steps
    """

    def __init__(
        self,
        student: Student,
        folder: Path,
        score_policy: Callable[[], Mapping[str, float]],
        by: Literal["reward", "exact_match"],
        console: Screen,
    ) -> None:
        self.student, self.score_policy, self.console = student, score_policy, console
        self.by = "exact" if by == "exact_match" else by
        self.journal, self.adapters = folder / "dev_rewards.jsonl", folder / "best"

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Forget the scores of steps that are made again; score where training begins or goes on.

        A kill may have come between checkpoint and score, so this step's score is always made anew.
        """
        write_jsonl(self.journal, [row for row in self._scored() if row["step"] < state.global_step])
        self._score(state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Score the policy whose checkpoint has just been written."""
        self._score(state.global_step)

    def best(self) -> dict[str, Any]:
        """Give the row with the highest mean; of equals the later one."""
        return max(self._scored(), key=lambda row: (row[self.by], row["step"]))

    def _scored(self) -> list[dict[str, Any]]:
        return read_jsonl(self.journal, step=int, reward=int | float)

    def adapter_of(self, step: int) -> Path:
        """Give where the adapter of a best step is."""
        return self.adapters / f"step-{step}"

    def write_best(self, folder: Path) -> dict[str, Any]:
        """Copy the best adapter to a folder, which is whole or absent; give its row."""
        best = self.best()
        copy_adapter(self.adapter_of(best["step"]), folder)
        return best

    def _score(self, step: int) -> None:
        rows = self._scored()
        if any(row["step"] == step for row in rows):
            return
        row = {"step": step, **self.score_policy()}
        if all(row[self.by] >= other[self.by] for other in rows):
            save_adapter(self.student, self.adapter_of(step))
        with Journal(self.journal) as journal:
            journal.append(row)
        self._forget([*rows, row])
        self.console.print(f"grpo step {step}: dev reward {row['reward']:.3f}, exact {row['exact']:.1%}")

    def _forget(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Delete the adapters that no resume can need."""
        records: list[int] = []
        highest = float("-inf")
        for row in sorted(rows, key=lambda row: int(row["step"])):
            if row[self.by] >= highest:
                highest = row[self.by]
                records.append(row["step"])
        kept = {self.adapter_of(step) for step in records[-_KEPT:]}
        for folder in self.adapters.iterdir():
            if folder not in kept:
                shutil.rmtree(folder)
