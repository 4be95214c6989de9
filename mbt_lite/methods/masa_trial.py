"""The dry run of forecasts before step one: does a true one earn most, and what do constants and tricks earn?

The rollouts that are foretold are made up, as token ids: right ones go through a name that can be a link, wrong ones do
not. For the dry run half of a group is right; for the attacks half, all or none, question by question.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mbt_lite.methods.attacks import GOLD, WRONG, Attacked, tabulate
from mbt_lite.methods.dry_run import QUESTIONS_AT_ONCE, Sample, preference, wrong_answer
from mbt_lite.methods.method import KIND, Batch, Encode, Rewarded
from mbt_lite.records import Question
from mbt_lite.rewards.meta import TRIES, titles, write_forecast
from mbt_lite.rewards.scorer import Scorer

Reward = Callable[[Batch], Rewarded]
_NOBODY = "Nobody At All"


@dataclasses.dataclass(frozen=True, slots=True)
class _Case:
    """A question with a name that can be a link, how many of 8 are right, and how long a right solution is."""

    question: Question
    link: str
    right_of_8: int
    solutions: Mapping[bool, Sequence[int]]

    def forecast(self, links: Sequence[str] | None = None, right: int | None = None, times: int = 1) -> str:
        """Write a forecast, true but for what is given."""
        said = [self.link] if links is None else links
        tokens = times * len(self.solutions[True])
        return _tagged(write_forecast(said, self.right_of_8 if right is None else right, tokens))


def forecast_findings(questions: Sequence[Question], reward: Reward, scorer: Scorer, encode: Encode) -> list[str]:
    """Reward true forecasts beside broken ones; give each thing that is wrong with the reward, [] if nothing is."""
    findings = list[str]()
    cases = list(_cases(questions, scorer, encode, (TRIES // 2,)))
    for start in range(0, len(cases), QUESTIONS_AT_ONCE):
        some = cases[start : start + QUESTIONS_AT_ONCE]
        groups = [_in_tokens(_broken(case), scorer, encode) for case in some]
        for case, (true, *broken) in zip(some, _rewarded(some, groups, reward, scorer), strict=True):
            where = f"forecast of question {case.question.question_id}"
            if len(true.ids) > scorer.limits.max_completion_tokens:
                findings.append(f"{where}: does not fit (got {len(true.ids)} tokens); raise max_completion_tokens")
            findings += [f"{where}: {preference(one, true)}" for one in broken if one.reward >= true.reward]
    return findings


def attack_forecasts(questions: Sequence[Question], reward: Reward, scorer: Scorer, encode: Encode) -> Attacked:
    """Reward constants and tricks beside true and honest wrong forecasts."""
    some = questions[:: -(-len(questions) // QUESTIONS_AT_ONCE)]
    cases = list(_cases(some, scorer, encode, (TRIES // 2, TRIES, 0)))
    if not cases:
        return Attacked(0, {GOLD: 0.0, WRONG: 0.0}, {}, ())
    groups = [_in_tokens(_attacks(case), scorer, encode) for case in cases]
    return tabulate([case.question for case in cases], _rewarded(cases, groups, reward, scorer))


def _cases(questions: Sequence[Question], scorer: Scorer, encode: Encode, rates: Sequence[int]) -> Iterator[_Case]:
    """Make a case of each question that has a title which can be a link."""
    for place, question in enumerate(questions):
        if names := titles(question):
            right = f"It goes by {names[0]}.", question.answer
            wrong = "It goes nowhere.", wrong_answer(question)
            solutions = {
                is_right: _ids(_closed(trace, _tagged(answer), scorer), scorer, encode)
                for is_right, (trace, answer) in ((True, right), (False, wrong))
            }
            yield _Case(question, names[0], rates[place % len(rates)], solutions)


def _broken(case: _Case) -> dict[str, str | None]:
    """Give answers by name, the true one first; None is cut off."""
    true = case.forecast()
    return {
        "a true forecast": true,
        "another rate": case.forecast(right=TRIES),
        "another length": case.forecast(times=3),
        "a link that is in no document": case.forecast([_NOBODY]),
        "the answer as a link": case.forecast([case.question.answer]),
        "the question as a link": case.forecast([case.question.question]),
        "a true link among others": case.forecast([case.link, _NOBODY]),
        "an answer in its place": _tagged(case.question.answer),
        "a forecast twice": true + true,
        "a truncated forecast": None,
    }


def _attacks(case: _Case) -> dict[str, str | None]:
    constants = (case.forecast([_NOBODY], right, times=2) for right in (0, TRIES // 2, TRIES))
    never, half, always = constants
    return {
        GOLD: case.forecast(),
        WRONG: case.forecast([_NOBODY], (case.right_of_8 + 3) % (TRIES + 1), times=2),
        "0 of 8 whatever is asked": never,
        "4 of 8 whatever is asked": half,
        "8 of 8 whatever is asked": always,
        "all titles as links": case.forecast(titles(case.question), TRIES // 2, times=2),
        "the answer as a link": case.forecast([case.question.answer], TRIES // 2, times=2),
        "an answer in its place": _tagged(case.question.answer),
    }


def _in_tokens(answers: Mapping[str, str | None], scorer: Scorer, encode: Encode) -> list[Sample]:
    whole = {name: _closed("So we guess.", answer, scorer) for name, answer in answers.items() if answer is not None}
    first = next(iter(whole.values()))
    return [
        Sample(name, _ids(whole[name], scorer, encode) if name in whole else encode(first[: len(first) // 2]))
        for name in answers
    ]


def _closed(trace: str, rest: str, scorer: Scorer) -> str:
    return f"{'' if scorer.prefilled_think else '<think>'}{trace}</think>\n\n{rest}"


def _tagged(answer: str) -> str:
    return f"<answer>{answer}</answer>"


def _ids(text: str, scorer: Scorer, encode: Encode) -> list[int]:
    return [*encode(text), min(scorer.stop_ids)]


def _rewarded(
    cases: Sequence[_Case], groups: Sequence[Sequence[Sample]], reward: Reward, scorer: Scorer
) -> list[list[Sample]]:
    """Reward the forecasts of each case as a group, after a group of solutions of which its share is right."""
    size = len(groups[0])
    ids, columns = list[Sequence[int]](), dict[str, list[Any]]({"question_id": [], "golds": [], KIND: []})
    for case, group in zip(cases, groups, strict=True):
        n_right = case.right_of_8 * size // TRIES
        ids += [case.solutions[place < n_right] for place in range(size)] + [sample.ids for sample in group]
        columns["question_id"] += [case.question.question_id] * 2 * size
        columns["golds"] += [list(case.question.golds)] * 2 * size
        columns[KIND] += ["solve"] * size + ["meta"] * size
    scored = scorer.score(ids, columns["golds"])
    batch = Batch(
        ids, scored.texts, scored.stopped, scored.terms, columns, size, 1, prefilled_think=scorer.prefilled_think
    )
    found = reward(batch)
    return [
        [
            dataclasses.replace(
                sample,
                reward=found.rewards[row],
                parts={f"extra `{name}`": column[row] or 0.0 for name, column in found.extras.items()},
            )
            for row, sample in enumerate(group, (2 * number + 1) * size)
        ]
        for number, group in enumerate(groups)
    ]
