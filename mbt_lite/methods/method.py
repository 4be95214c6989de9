"""What a way to train by reward is made of: rows, a reward, a dry run on golds, healthy ranges.

A method is one file beside this one, with its line in `choose_method`. It sees a whole generation batch at once, so it
can compare the completions of a group. It imports no library that trains: `training/grpo.py` does the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mbt_lite.generation.decoding import Rollout
from mbt_lite.records import Message, Question
from mbt_lite.rewards.law import Terms
from mbt_lite.rewards.scorer import Scorer
from mbt_lite.text.token_places import Decode

if TYPE_CHECKING:
    from mbt_lite.methods.attacks import Attacked

# Gives a text's tokens, special ones neither added nor left out.
Encode = Callable[[str], Sequence[int]]
# The column that tells rows of several kinds apart; completions.jsonl has it too.
KIND = "kind"
# Gives the prompt of a question.
Ask = Callable[[Question], list[Message]]
# Yields which groups of a step are rolled out next, by index, with the most tokens of their completions; 0: not at all,
# they are one stop token each. Is sent their rollouts.
Passes = Generator[Mapping[int, int], Mapping[int, Sequence[Rollout]], None]


@dataclasses.dataclass(frozen=True, slots=True)
class PromptRow:
    """A row of the dataset: a group of completions is rolled out for it.

    `columns` are the method's own, the same names in every row; `question_id` and `golds` come from the question.
    """

    question: Question
    prompt: list[Message]
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """The B = P·G completions of a step, scored by the law; the G of a prompt stand beside each other.

    `columns` are those of the rows, `question_id` and `golds` among them; `step` is the optimizer step they are for,
    from 1 on. `log_probs` [B, tokens of the row] are the policy's (see `Rollout`); None unless the method wants them.
    `limits` [B]: the most tokens each had in a step of `passes`, 0 where it was not rolled out; None in one pass.
    `questions` [B] are those of the rows, () where they are not known; `decode` is what gave the texts of the ids.
    """

    ids: Sequence[Sequence[int]]
    texts: Sequence[str]
    stopped: Sequence[bool]
    terms: Sequence[Terms]
    columns: Mapping[str, Sequence[Any]]
    group_size: int
    step: int
    log_probs: Sequence[Sequence[float]] | None = None
    limits: Sequence[int] | None = None
    prefilled_think: bool = False
    questions: Sequence[Question] = ()
    decode: Decode | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Rewarded:
    """The reward of each completion [B]; `extras` are further numbers [B], logged as `extra/<name>`.

    An extra is None for a row that it says nothing of. `figures` are of the step as a whole, logged under their names.
    `answers` [B] tells which rows are answers, so that the law's terms say something of them; None: all are.
    """

    rewards: Sequence[float]
    extras: Mapping[str, Sequence[float | None]] = dataclasses.field(default_factory=dict)
    figures: Mapping[str, float] = dataclasses.field(default_factory=dict)
    answers: Sequence[bool] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """The healthy range of one figure of metrics.jsonl, from a step on.

    `below` and `above` say what it means to be outside, and what to turn; an empty one goes with an open range.
    """

    name: str
    low: float
    high: float
    below: str = ""
    above: str = ""
    from_step: int = 1

    def side(self, value: float) -> Literal["below", "above", None]:
        """Tell where a value stands; the ends of the range are inside."""
        return "below" if value < self.low else "above" if value > self.high else None


class Extra(Protocol):
    """One number a completion on top of the law, with the whole batch at hand.

    It joins the gold dry run, in which a gold completion and four broken ones are the group of a question, at step 1,
    and every token counts as certain (log-probability 0): there is no policy to ask yet. Then attacks on the reward
    are such a group (see `attacks`).
    """

    @property
    def name(self) -> str:
        """Its name: it is logged as `extra/<name>`."""

    @property
    def wants_log_probs(self) -> bool:
        """Whether it reads `Batch.log_probs`."""

    def __call__(self, batch: Batch) -> Sequence[float]:
        """Give the numbers [B]."""

    def figures(self, batch: Batch) -> Mapping[str, float]:
        """Give figures of the step as a whole, logged under their names; one that nothing tells is left out."""
        return {}

    def healthy_ranges(self) -> tuple[Rule, ...]:
        """Give the ranges in which its figures are healthy."""
        return ()


class Method(Protocol):
    """A way to train by reward."""

    @property
    def name(self) -> str:
        """Its name in the recipe; TRL logs its reward as `rewards/<name>/mean`."""

    @property
    def wants_log_probs(self) -> bool:
        """Whether its reward reads `Batch.log_probs`."""

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The prompts that a question of a step has, each with a group of its own."""

    @property
    def lays_out_steps(self) -> bool:
        """Whether `rows` are in the order of the steps, as many as these need; else TRL shuffles them."""

    def rows(self, questions: Sequence[Question]) -> list[PromptRow]:
        """Give the rows to train on."""

    def passes(self, step: int, rows: Sequence[PromptRow], *, prefilled_think: bool) -> Passes | None:
        """Give the order in which the groups of a step (from 0 on) are rolled out; None: all at once."""

    def reward(self, batch: Batch) -> Rewarded:
        """Reward each completion of a batch: a number for every row, never None."""

    def findings(self, questions: Sequence[Question], scorer: Scorer, encode: Encode) -> list[str]:
        """Try the reward on golds before step one; give each thing that is wrong with it, [] if nothing is."""

    def attacked(self, questions: Sequence[Question], scorer: Scorer, encode: Encode) -> Attacked:
        """Try what attacks on the reward earn before step one; its findings stop the run."""

    def healthy_ranges(self) -> tuple[Rule, ...]:
        """Give the ranges in which the figures of a step are healthy."""
