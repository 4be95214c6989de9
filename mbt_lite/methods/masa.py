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
from collections.abc import Iterator, Mapping, Sequence

from mbt_lite.generation.decoding import Rollout
from mbt_lite.methods.attacks import Attacked
from mbt_lite.methods.law import Law
from mbt_lite.methods.masa_trial import Trial
from mbt_lite.methods.method import KIND, Ask, Batch, Encode, Passes, PromptRow, Rewarded, Rule
from mbt_lite.prompts import meta_messages, student_messages
from mbt_lite.recipe.schema import Masa as Settings
from mbt_lite.records import Question
from mbt_lite.rewards.gating import gate, gate_quality, is_audited, solve_limit
from mbt_lite.rewards.meta import Constant, Forecast, Solved, Truth, best_constant, read_forecast, solved, truth
from mbt_lite.rewards.scorer import Scorer
from mbt_lite.text.completion import parse_completion

SOLVE, META = "solve", "meta"


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """The two groups of a question: where its rows begin in the batch, what was foretold, what came.

    `found` is None where the question was not solved; `cap` is the most tokens a solution had.
    """

    question: Question
    solve: int
    meta: int
    forecasts: Sequence[Forecast]
    found: Solved | None
    cap: int
    is_gated: bool
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
        self._know(questions)
        asked = {
            question.question_id: [
                PromptRow(question, ask(question), {KIND: kind})
                for kind, ask in zip((SOLVE, META), self.asks, strict=True)
            ]
            for question in questions
        }
        ids = in_steps(list(asked), self.steps, self.prompts_per_step, self.seed)
        return [row for question_id in ids for row in asked[question_id]]

    def _know(self, questions: Sequence[Question]) -> None:
        self.questions |= {question.question_id: question for question in questions}

    def passes(self, step: int, rows: Sequence[PromptRow], *, prefilled_think: bool) -> Passes | None:
        """Foretell first, then solve what is worth it; all at once up to `sequential_after`."""
        after = self.settings.sequential_after
        return None if after is None or step < after else self._passes(step, rows, prefilled_think)

    def _passes(self, step: int, rows: Sequence[PromptRow], prefilled_think: bool) -> Passes:
        cap, metas = self.law.max_completion_tokens, [i for i, row in enumerate(rows) if row.columns[KIND] == META]
        written = yield dict.fromkeys(metas, cap)
        solves = [i for i, row in enumerate(rows) if row.columns[KIND] == SOLVE]
        yield {
            solve: self._limit(step, rows[solve].question, _told(written[meta], prefilled_think), cap)
            for solve, meta in zip(solves, metas, strict=True)
        }

    def _limit(self, step: int, question: Question, forecasts: Sequence[Forecast], cap: int) -> int:
        """Give how long a solution may become; 0: it is not asked for. An audit is not cut, to see what would be."""
        if gate(forecasts, self.settings.gate_sd) == "open":
            return self._foretold(forecasts, cap)
        return cap if is_audited(self.seed, step, question.question_id, self.settings.audit_share) else 0

    def _foretold(self, forecasts: Sequence[Forecast], cap: int) -> int:
        return solve_limit(forecasts, self.settings.cutoff_factor, self.settings.cutoff_floor_tokens, cap)

    def reward(self, batch: Batch) -> Rewarded:
        """Give solutions the law's reward, forecasts theirs; where a question was not solved, both groups nothing."""
        pairs, size = list(self._pairs(batch)), batch.group_size
        rewards = list(self.law.reward(batch).rewards)
        answers = [False] * len(rewards)
        truths: list[Truth | None] = [None] * len(rewards)
        for pair in pairs:
            solves, metas = (range(start, start + size) for start in (pair.solve, pair.meta))
            for row in (*solves, *metas):
                rewards[row] = 0.0 if pair.found is None or row in metas else rewards[row]
                answers[row] = pair.found is not None and row in solves
            for row, forecast in zip(metas, pair.forecasts, strict=True):
                if pair.found is not None:
                    truths[row] = earned = self._truth(forecast, pair.found, pair.question)
                    rewards[row] = self.settings.weight * earned.total
        extras = {
            name: [None if one is None else float(getattr(one, name)) for one in truths]
            for name in ("links", "tokens", "rate", "total")
        }
        return Rewarded(rewards, extras, self._figures(batch, pairs), answers)

    def _pairs(self, batch: Batch) -> Iterator[Pair]:
        size, cap = batch.group_size, self.law.max_completion_tokens
        starts = range(0, len(batch.texts), size)
        kinds = [[start for start in starts if batch.columns[KIND][start] == kind] for kind in (SOLVE, META)]
        for solve, meta in zip(*kinds, strict=True):
            own, theirs = (batch.columns["question_id"][start] for start in (solve, meta))
            assert own == theirs, (own, theirs)
            forecasts = [
                read_forecast(batch.texts[row], prefilled_think=batch.prefilled_think)
                if batch.stopped[row]
                else Forecast()
                for row in range(meta, meta + size)
            ]
            limit = cap if batch.limits is None else batch.limits[solve]
            is_gated = gate(forecasts, self.settings.gate_sd) != "open"
            found = _solved(batch, solve) if limit else None
            yield Pair(
                self.questions[own], solve, meta, forecasts, found, limit, is_gated, self._foretold(forecasts, cap)
            )

    def _truth(self, forecast: Forecast, found: Solved, question: Question) -> Truth:
        return truth(forecast, found, question, tolerance=self.settings.length_tolerance, law=self.settings.rate_law)

    def constant(self, pairs: Sequence[tuple[Question, Solved]]) -> Constant:
        """Give the best constant forecast of questions."""
        return best_constant(pairs, tolerance=self.settings.length_tolerance, law=self.settings.rate_law)

    def _figures(self, batch: Batch, pairs: Sequence[Pair]) -> Mapping[str, float]:
        """Give the figures of a step under `masa/`; one that nothing tells is left out, never zero."""
        size, cap = batch.group_size, self.law.max_completion_tokens
        forecasts = [forecast for pair in pairs for forecast in pair.forecasts]
        known = [(pair.question, pair.found) for pair in pairs if pair.found is not None]
        figures: dict[str, float | None] = {
            "parsed": sum(None not in dataclasses.astuple(one) for one in forecasts) / len(forecasts),
            "questions_solved": len(known),
            "gated": sum(pair.is_gated for pair in pairs),
            "audited": sum(pair.is_gated and pair.found is not None for pair in pairs),
        }
        if known:
            constant = self.constant(known).earned
            figures |= {f"constant_{name}": getattr(constant, name) for name in ("links", "tokens", "rate", "total")}
        # those that the gate kept out cannot tell what it missed
        seen = [pair for pair in pairs if pair.found is not None and (batch.limits is None or pair.is_gated)]
        spreadless = [pair.found is not None and pair.found.rate in (0, 1) for pair in seen]
        precision, recall = gate_quality(spreadless, [pair.is_gated for pair in seen])
        figures |= {"gate_precision": precision, "gate_recall": recall if batch.limits is None else None}
        whole = [pair for pair in pairs if pair.found is not None and pair.cap == cap]
        figures["right_beyond_cutoff"] = sum(
            length > pair.foretold_limit for pair in whole if pair.found for length in pair.found.right_lengths
        )
        solves = [row for pair in pairs if pair.found for row in range(pair.solve, pair.solve + size)]
        cut = [row for pair in pairs if 0 < pair.cap < cap for row in range(pair.solve, pair.solve + size)]
        figures["rows_cut"] = sum(not batch.stopped[row] for row in cut)
        metas = [row for pair in pairs for row in range(pair.meta, pair.meta + size)]
        figures |= {f"{kind}_tokens": sum(len(batch.ids[row]) for row in rows)
                    for kind, rows in ((SOLVE, solves), (META, metas))}  # fmt: skip
        return {f"masa/{name}": float(value) for name, value in figures.items() if value is not None}

    def findings(self, questions: Sequence[Question], scorer: Scorer, encode: Encode) -> list[str]:
        """Compare gold solutions with broken ones as the law does, then true forecasts with broken ones."""
        self._know(questions)
        return self.law.findings(questions, scorer, encode) or Trial(self.reward, scorer, encode).findings(questions)

    def attacked(self, questions: Sequence[Question], scorer: Scorer, encode: Encode) -> Attacked:
        """Attack the law's reward, then that of forecasts."""
        self._know(questions)
        trial = Trial(self.reward, scorer, encode)
        return self.law.attacked(questions, scorer, encode).beside("forecasts", trial.attacked(questions))

    def healthy_ranges(self) -> tuple[Rule, ...]:
        """Give the law's, and the share of forecasts that can be read."""
        below = "forecasts cannot be read, and earn nothing; train sft on rows of gen.kind meta_expert first"
        return (*self.law.healthy_ranges(), Rule("masa/parsed", 0.8, 1.0, below=below))


def in_steps(ids: Sequence[str], steps: int, per_step: int, seed: int) -> list[str]:
    """Order ids by steps: each pass over them is shuffled anew, and what does not fill a step is left out of it."""
    dice, ordered = random.Random(seed), list[str]()
    while len(ordered) < steps * per_step:
        shuffled = dice.sample(ids, len(ids))
        ordered += shuffled[: len(ids) // per_step * per_step]
    return ordered[: steps * per_step]


def _told(rollouts: Sequence[Rollout], prefilled_think: bool) -> list[Forecast]:
    return [
        read_forecast(one.text, prefilled_think=prefilled_think) if one.finish_reason == "stop" else Forecast()
        for one in rollouts
    ]


def _solved(batch: Batch, start: int) -> Solved:
    rows = range(start, start + batch.group_size)
    return solved(
        (
            parse_completion(batch.texts[row], prefilled_think=batch.prefilled_think).trace,
            batch.stopped[row] and batch.terms[row]["exact"] == 1.0,
            len(batch.ids[row]),
        )
        for row in rows
    )
