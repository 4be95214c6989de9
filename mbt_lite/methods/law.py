"""The reward law as a method: a row a question, rewarded by the weighed terms, and by extras on top of them.

Without extras the reward is the law's, to the bit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from mbt_lite.methods.attacks import Attacked, attack
from mbt_lite.methods.dry_run import gold_findings
from mbt_lite.methods.extras import extras_of
from mbt_lite.methods.method import Ask, Batch, Encode, Extra, PromptRow, Rewarded, Rule
from mbt_lite.prompts import student_messages
from mbt_lite.recipe.schema import Grpo
from mbt_lite.records import Question
from mbt_lite.rewards.law import total
from mbt_lite.rewards.scorer import Scorer
from mbt_lite.rewards.terms import RewardLimits


def limits_of(grpo: Grpo) -> RewardLimits:
    """Give the law's limits."""
    return RewardLimits(
        max_completion_tokens=grpo.max_completion_tokens,
        verification_words=grpo.reward.verification_words,
        overlong_buffer_tokens=grpo.reward.overlong_buffer_tokens,
    )


def law_of(grpo: Grpo) -> Law:
    """Give the law as a recipe weighs it."""
    return Law(grpo.reward.weights.model_dump(), grpo.max_completion_tokens, extras_of(grpo))


@dataclasses.dataclass(frozen=True, slots=True)
class Law:
    """The law under its weights, with extras added up after it in their order."""

    weights: Mapping[str, float]
    max_completion_tokens: int
    extras: tuple[Extra, ...] = ()

    @property
    def name(self) -> str:
        """As in the recipe."""
        return "law"

    @property
    def wants_log_probs(self) -> bool:
        """Only for an extra."""
        return any(extra.wants_log_probs for extra in self.extras)

    @property
    def asks(self) -> tuple[Ask, ...]:
        """A question is asked."""
        return (student_messages,)

    @property
    def lays_out_steps(self) -> bool:
        """A question is a row, in any order."""
        return False

    def rows(self, questions: Sequence[Question]) -> list[PromptRow]:
        """Give a row a question."""
        return [PromptRow(question, student_messages(question)) for question in questions]

    def passes(self, step: int, rows: Sequence[PromptRow], *, prefilled_think: bool) -> None:
        """Roll out all at once."""

    def reward(self, batch: Batch) -> Rewarded:
        """Weigh the terms, then add the extras."""
        rewards = [total(terms, self.weights) for terms in batch.terms]
        extras = {extra.name: list(extra(batch)) for extra in self.extras}
        for column in extras.values():
            rewards = [reward + more for reward, more in zip(rewards, column, strict=True)]
        figures = {name: value for extra in self.extras for name, value in extra.figures(batch).items()}
        return Rewarded(rewards, extras, figures)

    def findings(self, questions: Sequence[Question], scorer: Scorer, encode: Encode) -> list[str]:
        """Compare gold completions with broken ones (see `dry_run`)."""
        return gold_findings(questions, self.reward, self.weights, scorer, encode)

    def attacked(self, questions: Sequence[Question], scorer: Scorer, encode: Encode) -> Attacked:
        """Compare attacks with gold and honest wrong completions (see `attacks`)."""
        return attack(questions, self.reward, self.weights, scorer, encode)

    def healthy_ranges(self) -> tuple[Rule, ...]:
        """Give axolotl's ranges for GRPO (mean reward, entropy, gradient norm), ours, and those of the extras."""
        return (
            Rule(
                "reward/answer", 0.15, math.inf, from_step=20,
                below="right answers are rare, so groups teach little; train sft longer, or set grpo.prefilter to "
                "start",
            ),
            Rule(
                "reward_std", 0.01, math.inf,
                below="completions earn all alike; weigh more reward terms, or raise grpo.temperature",
            ),
            Rule(
                "zero_variance_share", 0.0, 0.7,
                above="most groups are all equal and teach nothing; set grpo.prefilter, or raise grpo.group_size",
            ),
            Rule(
                "stop_rate", 0.8, 1.0,
                below="completions run into the limit; raise grpo.max_completion_tokens, or weigh the term length",
            ),
            Rule(
                "completions/mean_length", 8, 0.9 * self.max_completion_tokens,
                below="completions collapse to a few tokens; lower grpo.learning_rate, or weigh the term format",
                above="completions are about to be cut off; raise grpo.max_completion_tokens, or weigh the term "
                "redundancy",
            ),
            Rule(
                "entropy", 0.05, 0.5,
                below="the rollouts of a group are nearly alike; raise grpo.temperature or grpo.clip_high",
                above="the policy drifts towards noise; lower grpo.learning_rate or grpo.temperature",
            ),
            Rule(
                "grad_norm", 0.001, 1.0,
                below="a step hardly changes the adapter; raise grpo.learning_rate, or look at the rewards' spread",
                above="steps are clipped hard or about to blow up; lower grpo.learning_rate, or raise prompts_per_step",
            ),
            *(rule for extra in self.extras for rule in extra.healthy_ranges()),
        )  # fmt: skip
