"""A method's reward as the one callable that TRL's GRPOTrainer wants, with every term logged.

TRL calls it once per generation batch with all completions; the columns of the dataset and what else the rollouts tell
come along as lists. The text is read from the token ids, because TRL's own text would leave out a `<think>` that the
chat template prefilled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mbt_lite.methods.method import KIND, Batch, Method, Rewarded
from mbt_lite.records import Question
from mbt_lite.rewards.scorer import Scored, Scorer
from mbt_lite.rewards.terms import TERMS

# The columns in which rollouts hand over their log-probabilities, and how long each might have become.
LOG_PROBS = "log_probs"
LIMITS = "limits"


@dataclasses.dataclass(slots=True)
class MethodReward:
    """Reward completions by a method; `record` gets one row per completion (text, terms, reward).

    `questions` are those of the dataset by id; {} where nothing asks for them.
    """

    method: Method
    scorer: Scorer
    columns: Sequence[str]
    group_size: int
    record: Callable[[list[dict[str, Any]]], None]
    questions: Mapping[str, Question] = dataclasses.field(default_factory=dict)

    @property
    def __name__(self) -> str:
        """The name under which TRL logs the reward."""
        return self.method.name

    def __call__(
        self,
        *,
        completion_ids: Sequence[Sequence[int]],
        trainer_state: Any,
        log_metric: Callable[[str, float], None],
        **given: Any,
    ) -> list[float | None]:
        """Give one reward per completion: B lists of unpadded ids, each ending with the stop token if it was reached.

        TRL hands over the columns and its own tools by keyword, and more than is used here. The rewards are typed as
        TRL does, which takes None for "not scored"; a method rewards every completion.
        """
        columns = {name: given[name] for name in self.columns}
        scored = self.scorer.score(completion_ids, columns["golds"])
        step = int(trainer_state.global_step) + 1
        log_probs = given[LOG_PROBS] if self.method.wants_log_probs else None
        found = self.method.reward(
            Batch(
                completion_ids,
                scored.texts,
                scored.stopped,
                scored.terms,
                columns,
                self.group_size,
                step,
                log_probs,
                given.get(LIMITS),
                self.scorer.prefilled_think,
                [self.questions[one] for one in columns["question_id"]] if self.questions else (),
                self.scorer.decode,
            )
        )
        extras = {f"extra/{name}": column for name, column in found.extras.items()}
        rows = _rows(step, completion_ids, scored, found, columns, extras)
        told = {f"reward/{name}": [row["terms"].get(name) for row in rows] for name in TERMS} | extras
        for name, column in told.items():
            if values := [value for value in column if value is not None]:
                log_metric(name, sum(values) / len(values))
        for name, value in found.figures.items():
            log_metric(name, value)
        log_metric("stop_rate", sum(scored.stopped) / len(rows))
        if scored.by_law is not None:
            log_metric("share_by_law", scored.by_law / len(rows))
        self.record(rows)
        return [row["reward"] for row in rows]


def _rows(
    step: int,
    completion_ids: Sequence[Sequence[int]],
    scored: Scored,
    found: Rewarded,
    columns: Mapping[str, Sequence[Any]],
    extras: Mapping[str, Sequence[float | None]],
) -> list[dict[str, Any]]:
    """Give what is recorded of each completion; one that is no answer to its question has no terms."""
    rows: list[dict[str, Any]] = [
        {
            "step": step,
            "question_id": question,
            "text": text,
            "finish_reason": "stop" if stopped else "length",
            "completion_tokens": len(ids),
            "terms": terms,
            "reward": reward,
            **{name: number for name, number in zip(extras, numbers, strict=True) if number is not None},
        }
        for question, ids, text, stopped, terms, reward, *numbers in zip(
            columns["question_id"],
            completion_ids,
            scored.texts,
            scored.stopped,
            scored.terms,
            found.rewards,
            *extras.values(),
            strict=True,
        )
    ]
    for row, kind in zip(rows, columns.get(KIND, ()), strict=False):
        row[KIND] = kind
    for row, is_answer in zip(rows, found.answers or (), strict=False):
        row["terms"] = row["terms"] if is_answer else {}
    return rows
