"""The reward law as the one callable that TRL's GRPOTrainer wants, with every term logged.

TRL calls it once per generation batch with all completions; the columns of the dataset come along as lists. The text is
read from the token ids, because TRL's own text would leave out a `<think>` that the chat template prefilled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mbt_lite.rewards.law import TERM_NAMES, total
from mbt_lite.rewards.scorer import Scorer


@dataclasses.dataclass(slots=True)
class LawReward:
    """Score completions by the law; `record` gets one row per completion (text, terms, reward)."""

    scorer: Scorer
    weights: Mapping[str, float]
    record: Callable[[list[dict[str, Any]]], None]

    @property
    def __name__(self) -> str:
        """The name under which TRL logs the reward: `rewards/law/mean`."""
        return "law"

    def __call__(
        self,
        *,
        completion_ids: Sequence[Sequence[int]],
        question_id: Sequence[str],
        golds: Sequence[Sequence[str]],
        trainer_state: Any,
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float | None]:
        """Give one reward per completion: B lists of unpadded ids, each ending with the stop token if it was reached.

        TRL hands over the columns and its own tools by keyword, and more than is used here. The rewards are typed as
        TRL does, which takes None for "not scored"; the law scores every completion.
        """
        scored = self.scorer.score(completion_ids, golds)
        rows: list[dict[str, Any]] = [
            {
                "step": int(trainer_state.global_step) + 1,
                "question_id": question,
                "text": text,
                "finish_reason": "stop" if stopped else "length",
                "completion_tokens": len(ids),
                "terms": dataclasses.asdict(terms),
                "reward": total(terms, self.weights),
            }
            for question, ids, text, stopped, terms in zip(
                question_id, completion_ids, scored.texts, scored.stopped, scored.terms, strict=True
            )
        ]
        for name in TERM_NAMES:
            log_metric(f"reward/{name}", sum(row["terms"][name] for row in rows) / len(rows))
        log_metric("stop_rate", sum(scored.stopped) / len(rows))
        log_metric("share_by_law", scored.by_law / len(rows))
        self.record(rows)
        return [row["reward"] for row in rows]
