"""The dry run of forecasts before step one: does a true one earn most, and what do constants and tricks earn?

The rollouts that are foretold are made up, as token ids: right ones go through a name that can be a link, wrong ones do
not. For the dry run half of a group is right; for the attacks half, all or none, question by question.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mbt_lite.methods.attacks import GOLD, WRONG, Attacked, tabulate
from mbt_lite.methods.dry_run import QUESTIONS_AT_ONCE, Sample, preference, wrong_answer
from mbt_lite.methods.method import KIND, Batch, Encode, Rewarded
from mbt_lite.records import Question
from mbt_lite.rewards.meta import TRIES, titles, write_forecast
from mbt_lite.rewards.scorer import Scorer

Reward = Callable[[Batch], Rewarded]
_NOBODY = "Nobody At All"
_HALF = TRIES // 2


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """The reward of forecasts, tried by a scorer and a tokenizer."""

    reward: Reward
    scorer: Scorer
    encode: Encode

    def findings(self, questions: Sequence[Question]) -> list[str]:
        """Reward true forecasts beside broken ones; give each thing that is wrong with the reward, [] if nothing is."""
        findings, limit = list[str](), self.scorer.limits.max_completion_tokens
        for question, (true, *broken) in self._rewarded(questions, _broken, (_HALF,)):
            where = f"forecast of question {question.question_id}"
            if len(true.ids) > limit:
                findings.append(f"{where}: does not fit (got {len(true.ids)} tokens); raise max_completion_tokens")
            findings += [f"{where}: {preference(one, true)}" for one in broken if one.reward >= true.reward]
        return findings

    def attacked(self, questions: Sequence[Question]) -> Attacked:
        """Reward constants and tricks beside true and honest wrong forecasts."""
        some = questions[:: -(-len(questions) // QUESTIONS_AT_ONCE)]
        found = self._rewarded(some, _attacks, (_HALF, TRIES, 0))
        if not found:
            return Attacked(0, {GOLD: 0.0, WRONG: 0.0}, {}, ())
        asked, groups = zip(*found, strict=True)
        return tabulate(asked, groups)

    def _rewarded(
        self, questions: Sequence[Question], answers: _Answers, rates: Sequence[int]
    ) -> list[tuple[Question, list[Sample]]]:
        """Reward forecasts of each question with a title that can be a link; `rates` are right of 8, in turns."""
        named = [question for question in questions if titles(question)]
        return [
            (question, self._group(question, answers, rates[place % len(rates)]))
            for place, question in enumerate(named)
        ]

    def _group(self, question: Question, answers: _Answers, right_of_8: int) -> list[Sample]:
        """Reward the forecasts of a question as a group, after a group of solutions of which a share is right."""
        right = self._ids(f"It goes by {titles(question)[0]}.", f"<answer>{question.answer}</answer>")
        wrong = self._ids("It goes nowhere.", f"<answer>{wrong_answer(question)}</answer>")
        written = answers(question, right_of_8, len(right))
        size = len(written)
        samples = [Sample(name, self._ids("So we guess.", answer)) for name, answer in written.items()]
        n_right = right_of_8 * size // TRIES
        ids = [*[right] * n_right, *[wrong] * (size - n_right), *(sample.ids for sample in samples)]
        golds = [list(question.golds)] * 2 * size
        columns: dict[str, list[Any]] = {"question_id": [question.question_id] * 2 * size, "golds": golds}
        columns[KIND] = ["solve"] * size + ["meta"] * size
        scored = self.scorer.score(ids, golds)
        given = (ids, scored.texts, scored.stopped, scored.terms, columns, size, 1)
        found = self.reward(Batch(*given, prefilled_think=self.scorer.prefilled_think))
        return [
            dataclasses.replace(
                sample,
                reward=found.rewards[size + place],
                parts={f"extra `{name}`": column[size + place] or 0.0 for name, column in found.extras.items()},
            )
            for place, sample in enumerate(samples)
        ]

    def _ids(self, trace: str, rest: str | None) -> list[int]:
        """Give the tokens of a completion; cut off within its trace without a rest."""
        opening = "" if self.scorer.prefilled_think else "<think>"
        if rest is None:
            return list(self.encode(f"{opening}{trace}"))
        return [*self.encode(f"{opening}{trace}</think>\n\n{rest}"), min(self.scorer.stop_ids)]


# Gives the answers of forecasts by name, the best first, from right of 8 and the length of right ones; None is cut off.
_Answers = Callable[[Question, int, int], Mapping[str, str | None]]


def _said(links: Sequence[str], right_of_8: int, tokens: int) -> str:
    return f"<answer>{write_forecast(links, right_of_8, tokens)}</answer>"


def _broken(question: Question, right: int, tokens: int) -> dict[str, str | None]:
    link = titles(question)[0]
    true = _said([link], right, tokens)
    return {
        "a true forecast": true,
        "another rate": _said([link], TRIES, tokens),
        "another length": _said([link], right, 3 * tokens),
        "a link that is in no document": _said([_NOBODY], right, tokens),
        "the answer as a link": _said([question.answer], right, tokens),
        "the question as a link": _said([question.question], right, tokens),
        "a true link among others": _said([link, _NOBODY], right, tokens),
        "an answer in its place": f"<answer>{question.answer}</answer>",
        "a forecast twice": true + true,
        "a truncated forecast": None,
    }


def _attacks(question: Question, right: int, tokens: int) -> dict[str, str | None]:
    constants = {f"{guess} of 8 whatever is asked": _said([_NOBODY], guess, 2 * tokens) for guess in (0, _HALF, TRIES)}
    return {
        GOLD: _said(titles(question)[:1], right, tokens),
        WRONG: _said([_NOBODY], (right + 3) % (TRIES + 1), 2 * tokens),
        **constants,
        "all titles as links": _said(titles(question), _HALF, 2 * tokens),
        "the answer as a link": _said([question.answer], _HALF, 2 * tokens),
        "an answer in its place": f"<answer>{question.answer}</answer>",
    }
