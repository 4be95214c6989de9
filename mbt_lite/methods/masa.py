"""MASA: the student foresees its own rollouts, and is rewarded for how true that comes (arXiv 2510.03259).

A question of a step has two groups: one solves it, rewarded by the law; the other foretells how the first goes, and is
rewarded for the names it goes through, its length and its share of right ones (`rewards/meta.py`). From a step on,
forecasts come first: questions that they gate are not solved, and solutions are cut (`rewards/gating.py`).

Where this differs from the paper: 1. what a forecast names are links of a multi-hop question; 2. gated questions are
audited; 3. beside every figure stands what the best constant forecast would have earned on the same questions.
"""

from __future__ import annotations

import dataclasses
import random
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypedDict

from mbt_lite.methods.attacks import Attacked
from mbt_lite.methods.law import Law
from mbt_lite.methods.method import KIND, Ask, Batch, Encode, Passes, PromptRow, Rewarded, Rule
from mbt_lite.prompts import meta_messages, student_messages
from mbt_lite.recipe.schema import Masa as Settings
from mbt_lite.records import Question
from mbt_lite.rewards.gating import foretold_rates, gate, gate_quality, is_audited, solve_limit
from mbt_lite.rewards.meta import Forecast, RateLaw, Solved, Truth, best_constant, read_forecast, solved, truth
from mbt_lite.rewards.scorer import Scorer
from mbt_lite.text.completion import parse_completion

SOLVE, META = "solve", "meta"
PARTS = ("links", "tokens", "rate", "total")


class _Laws(TypedDict):
    tolerance: float
    law: RateLaw


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """The two groups of a question: their rows in the batch, what was foretold, what came (None: it was not solved).

    A solution had at most `cap` tokens; the forecasts would have cut it at `foretold_limit`.
    """

    question: Question
    solves: range
    metas: range
    forecasts: Sequence[Forecast]
    is_gated: bool
    found: Solved | None
    cap: int
    foretold_limit: int


@dataclasses.dataclass(slots=True)
class Masa:
    """The method. It remembers the questions that it made rows of: TRL hands over ids."""

    law: Law
    settings: Settings
    steps: int
    prompts_per_step: int
    seed: int
    questions: dict[str, Question] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """As in the recipe."""
        return "masa"

    @property
    def wants_log_probs(self) -> bool:
        """No reward of it does."""
        return False

    @property
    def asks(self) -> tuple[Ask, ...]:
        """A question is solved, and foreseen."""
        return student_messages, meta_messages

    @property
    def lays_out_steps(self) -> bool:
        """Both groups of a question belong into one step."""
        return True

    def rows(self, questions: Sequence[Question]) -> list[PromptRow]:
        """Lay out all steps: in each pass over the questions another order, the two rows of a question side by side."""
        self.questions |= {question.question_id: question for question in questions}
        asked = {
            question.question_id: [
                PromptRow(question, ask(question), {KIND: kind})
                for kind, ask in zip((SOLVE, META), self.asks, strict=True)
            ]
            for question in questions
        }
        ids = in_steps(list(asked), self.steps, self.prompts_per_step, self.seed)
        return [row for question_id in ids for row in asked[question_id]]

    def passes(self, step: int, rows: Sequence[PromptRow], *, prefilled_think: bool) -> Passes | None:
        """Foretell first, then solve what is worth it; all at once up to `sequential_after`."""
        after = self.settings.sequential_after
        return None if after is None or step < after else self._passes(step, rows, prefilled_think)

    def _passes(self, step: int, rows: Sequence[PromptRow], prefilled_think: bool) -> Passes:
        cap, metas = self.law.max_completion_tokens, [i for i, row in enumerate(rows) if row.columns[KIND] == META]
        written = yield dict.fromkeys(metas, cap)
        solves = [i for i, row in enumerate(rows) if row.columns[KIND] == SOLVE]
        limits = dict[int, int]()
        for solve, meta in zip(solves, metas, strict=True):
            ends = [(one.text, one.finish_reason == "stop") for one in written[meta]]
            limits[solve] = self._limit(step, rows[solve].question, _told(ends, prefilled_think), cap)
        yield limits

    def _limit(self, step: int, question: Question, forecasts: Sequence[Forecast], cap: int) -> int:
        """Give how long a solution may become; 0: it is not asked for. An audit is not cut, to see what would be."""
        if gate(forecasts, self.settings.gate_sd) == "open":
            return self._foretold(forecasts, cap)
        return cap if is_audited(self.seed, step, question.question_id, self.settings.audit_share) else 0

    def _foretold(self, forecasts: Sequence[Forecast], cap: int) -> int:
        return solve_limit(forecasts, self.settings.cutoff_factor, self.settings.cutoff_floor_tokens, cap)

    def reward(self, batch: Batch) -> Rewarded:
        """Give solutions the law's reward, forecasts theirs; where a question was not solved, both groups nothing."""
        pairs, by_law = list(self._pairs(batch)), self.law.reward(batch).rewards
        rewards, truths = [0.0] * len(by_law), list[Truth | None]([None] * len(by_law))
        answers = [False] * len(by_law)
        for pair in pairs:
            if pair.found is None:
                continue
            for row in pair.solves:
                rewards[row], answers[row] = by_law[row], True
            for row, forecast in zip(pair.metas, pair.forecasts, strict=True):
                truths[row] = earned = truth(forecast, pair.found, pair.question, **self._laws)
                rewards[row] = self.settings.weight * earned.total
        extras = {name: [None if one is None else getattr(one, name) for one in truths] for name in PARTS}
        return Rewarded(rewards, extras, self._figures(batch, pairs), answers)

    @property
    def _laws(self) -> _Laws:
        return {"tolerance": self.settings.length_tolerance, "law": self.settings.rate_law}

    def _pairs(self, batch: Batch) -> Iterator[Pair]:
        size, cap = batch.group_size, self.law.max_completion_tokens
        groups = [range(start, start + size) for start in range(0, len(batch.texts), size)]
        kinds = [[group for group in groups if batch.columns[KIND][group[0]] == kind] for kind in (SOLVE, META)]
        for solves, metas in zip(*kinds, strict=True):
            own, theirs = (batch.columns["question_id"][group[0]] for group in (solves, metas))
            assert own == theirs, (own, theirs)
            forecasts = _told([(batch.texts[row], batch.stopped[row]) for row in metas], batch.prefilled_think)
            limit = cap if batch.limits is None else batch.limits[solves[0]]
            yield Pair(
                self.questions[own],
                solves,
                metas,
                forecasts,
                gate(forecasts, self.settings.gate_sd) != "open",
                _solved(batch, solves) if limit else None,
                limit,
                self._foretold(forecasts, cap),
            )

    def _figures(self, batch: Batch, pairs: Sequence[Pair]) -> Mapping[str, float]:
        """Give the figures of a step under `masa/`; one that nothing tells is left out, never zero."""
        done = [(pair, pair.found) for pair in pairs if pair.found is not None]
        forecasts = [forecast for pair in pairs for forecast in pair.forecasts]
        cap = self.law.max_completion_tokens
        # after forecasts that came first, only audited ones tell of the gate, and none of what it missed
        seen = [(pair, found) for pair, found in done if batch.limits is None or pair.is_gated]
        precision, recall = gate_quality([one.rate in (0, 1) for _, one in seen], [pair.is_gated for pair, _ in seen])
        # a gate that leaves out what is always solved as never solved is precise, and wrong
        off = [abs(one.rate - statistics.fmean(foretold_rates(pair.forecasts))) for pair, one in done if pair.is_gated]
        solve_tokens = sum(len(batch.ids[row]) for pair, _ in done for row in pair.solves)
        figures: dict[str, float | None] = {
            "parsed": sum(None not in dataclasses.astuple(one) for one in forecasts) / len(forecasts),
            "questions_solved": len(done),
            "gated": sum(pair.is_gated for pair in pairs),
            "gated_share": sum(pair.is_gated for pair in pairs) / len(pairs),
            "gate_error": statistics.fmean(off) if off else None,
            "audited": sum(pair.is_gated for pair, _ in done),
            "gate_precision": precision,
            "gate_recall": recall if batch.limits is None else None,
            "rows_cut": sum(not batch.stopped[row] for pair, _ in done if pair.cap < cap for row in pair.solves),
            "right_beyond_cutoff": sum(
                length > pair.foretold_limit for pair, one in done if pair.cap == cap for length in one.right_lengths
            ),
            "solve_tokens": solve_tokens,
            # an estimate: what was not written would have been as long as the step's other solutions
            "tokens_saved": solve_tokens / len(done) * (len(pairs) - len(done)) if batch.limits and done else None,
            "meta_tokens": sum(len(batch.ids[row]) for pair in pairs for row in pair.metas),
        }
        if done:
            constant = best_constant([(pair.question, found) for pair, found in done], **self._laws).earned
            figures |= {f"constant_{name}": getattr(constant, name) for name in PARTS}
        return {f"masa/{name}": float(value) for name, value in figures.items() if value is not None}

    def findings(self, questions: Sequence[Question], scorer: Scorer, encode: Encode) -> list[str]:
        """Compare gold solutions with broken ones, as the law does."""
        return self.law.findings(questions, scorer, encode)

    def attacked(self, questions: Sequence[Question], scorer: Scorer, encode: Encode) -> Attacked:
        """Attack the reward of solutions, the law's."""
        return self.law.attacked(questions, scorer, encode)

    def healthy_ranges(self) -> tuple[Rule, ...]:
        """Give the law's, the share of forecasts that can be read, and that of questions that they leave out."""
        below = "forecasts cannot be read, and earn nothing; train sft on rows of gen.kind meta_expert first"
        above = (
            "forecasts leave out most questions; where masa/gate_error is not near 0 they confirm themselves: raise "
            "grpo.masa.audit_share, or set grpo.masa.sequential_after later; where it is, give other questions"
        )
        rules = Rule("masa/parsed", 0.8, 1.0, below=below), Rule("masa/gated_share", 0.0, 0.7, above=above)
        return *self.law.healthy_ranges(), *rules


def in_steps(ids: Sequence[str], steps: int, per_step: int, seed: int) -> list[str]:
    """Order ids by steps: each pass over them is shuffled anew, and what does not fill a step is left out of it."""
    dice, ordered = random.Random(seed), list[str]()
    while len(ordered) < steps * per_step:
        shuffled = dice.sample(ids, len(ids))
        ordered += shuffled[: len(ids) // per_step * per_step]
    return ordered[: steps * per_step]


def _told(written: Iterable[tuple[str, bool]], prefilled_think: bool) -> list[Forecast]:
    """Read forecasts; one that did not stop by itself is none."""
    return [
        read_forecast(text, prefilled_think=prefilled_think) if stopped else Forecast() for text, stopped in written
    ]


def _solved(batch: Batch, rows: Iterable[int]) -> Solved:
    return solved(
        (
            parse_completion(batch.texts[row], prefilled_think=batch.prefilled_think).trace,
            batch.stopped[row] and batch.terms[row]["exact"] == 1.0,
            len(batch.ids[row]),
        )
        for row in rows
    )
