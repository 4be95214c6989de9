"""MASA as a method: pairs in one batch, what each earns, what a step tells; no model runs."""

from collections.abc import Sequence
from typing import Any

import pytest

from mbt_lite.data.synthetic import FILES, generate_questions
from mbt_lite.generation.decoding import Rollout
from mbt_lite.methods import choose_method
from mbt_lite.methods.masa import Masa, in_steps
from mbt_lite.methods.method import Batch, Rewarded
from mbt_lite.prompts import completion_text, meta_messages, student_messages
from mbt_lite.recipe.schema import Grpo, RewardWeights
from mbt_lite.recipe.schema import Masa as Settings
from mbt_lite.records import Question
from mbt_lite.rewards.gating import is_audited
from mbt_lite.rewards.law import score
from mbt_lite.rewards.meta import write_forecast
from mbt_lite.rewards.scorer import Scorer
from mbt_lite.rewards.terms import RewardLimits

LIMITS = RewardLimits(max_completion_tokens=600, verification_words=12, overlong_buffer_tokens=0)
QUESTIONS = [one for one in generate_questions(FILES[0]) if one.question_type == "bridge"][:3]
STOP = 0


def encode(text: str) -> list[int]:
    return [ord(character) for character in text]


def decode(ids: Sequence[int]) -> str:
    return "".join(map(chr, ids))


SCORER = Scorer(decode, frozenset({STOP}), LIMITS, prefilled_think=False)


def masa(questions: Sequence[Question] = QUESTIONS, **settings: Any) -> Masa:
    weights = RewardWeights(answer=1.0)
    grpo = Grpo(
        method="masa",
        masa=Settings(**settings),
        steps=3,
        prompts_per_step=2,
        group_size=4,
        max_completion_tokens=600,
        reward=Grpo().reward.model_copy(update={"weights": weights}),
    )
    method = choose_method(grpo)
    assert isinstance(method, Masa)
    method.rows(questions)
    return method


def right(question: Question) -> str:
    return completion_text(f"It goes by {question.bridges[0]}.", question.answer)


def wrong(question: Question) -> str:
    return completion_text("It goes astray.", "nowhere")


def told(links: Sequence[str], right_of_8: int, tokens: int) -> str:
    return completion_text("so", write_forecast(links, right_of_8, tokens))


def batch_of(
    *pairs: tuple[Question, Sequence[str], Sequence[str]], limits: Sequence[int] | None = None, cut: Sequence[int] = ()
) -> Batch:
    """Make the batch of questions with their solutions and forecasts; rows in `cut` did not stop."""
    texts, columns = list[str](), dict[str, list[Any]](question_id=[], golds=[], kind=[])
    for question, solutions, forecasts in pairs:
        for kind, some in (("solve", solutions), ("meta", forecasts)):
            texts += some
            columns["question_id"] += [question.question_id] * len(some)
            columns["golds"] += [list(question.golds)] * len(some)
            columns["kind"] += [kind] * len(some)
    stopped = [row not in cut for row in range(len(texts))]
    ids = [encode(text) + [STOP] * done for text, done in zip(texts, stopped, strict=True)]
    terms = [
        score(text, stopped=done, completion_tokens=len(row), golds=golds, limits=LIMITS)
        for text, done, row, golds in zip(texts, stopped, ids, columns["golds"], strict=True)
    ]
    every = None if limits is None else [limit for limit in limits for _ in range(4)]
    return Batch(ids, texts, stopped, terms, columns, 4, 1, limits=every)


def rows_of(found: Rewarded, name: str) -> list[float | None]:
    return list(found.extras[name])


def test_a_question_has_two_rows_beside_each_other_and_steps_are_laid_out() -> None:
    method = masa()
    rows = method.rows(QUESTIONS)
    assert len(rows) == 3 * 2 * 2
    for solve, meta in zip(rows[::2], rows[1::2], strict=True):
        assert solve.question is meta.question
        assert (solve.columns, meta.columns) == ({"kind": "solve"}, {"kind": "meta"})
        assert solve.prompt == student_messages(solve.question)
        assert meta.prompt == meta_messages(meta.question)
    assert [row.question.question_id for row in rows] == [row.question.question_id for row in method.rows(QUESTIONS)]
    assert method.lays_out_steps
    assert len(method.asks) == 2


def test_steps_hold_no_question_twice_and_every_pass_is_another_order() -> None:
    ids = [str(number) for number in range(5)]
    order = in_steps(ids, steps=10, per_step=2, seed=3)
    assert len(order) == 20
    assert all(len({*order[start : start + 2]}) == 2 for start in range(0, 20, 2))
    assert all(len({*order[start : start + 4]}) == 4 for start in range(0, 20, 4))
    assert len({tuple(order[start : start + 4]) for start in range(0, 20, 4)}) > 2
    assert order == in_steps(ids, steps=10, per_step=2, seed=3) != in_steps(ids, steps=10, per_step=2, seed=4)


def test_solutions_earn_the_law_and_forecasts_how_true_they_came() -> None:
    question = QUESTIONS[0]
    length = len(encode(right(question))) + 1
    forecasts = [
        told(question.bridges, 5, length), told([question.bridges[0], "Nobody"], 4, 7),
        told([question.answer], 8, length), "I do not know.",
    ]  # fmt: skip
    solutions = [right(question), wrong(question), right(question), wrong(question)]
    found = masa().reward(batch_of((question, solutions, forecasts)))
    assert list(found.rewards[:4]) == [1.0, 0.0, 1.0, 0.0]
    assert list(found.rewards[4:]) == pytest.approx([0.854114, 0.5, (0 + 1 + 0.1) / 3, 0.0], abs=1e-6)
    assert rows_of(found, "links") == [None] * 4 + [1.0, 0.5, 0.0, 0.0]
    assert rows_of(found, "rate")[4:] == pytest.approx([0.562341, 1, 0.1, 0], abs=1e-6)
    assert list(found.answers or ()) == [True] * 4 + [False] * 4


def test_weight_and_law_of_the_rate_are_the_recipes() -> None:
    question, length = QUESTIONS[0], len(encode(right(QUESTIONS[0]))) + 1
    solutions, forecasts = [right(question), wrong(question)] * 2, [told(question.bridges, 6, length)] * 4
    found = masa(weight=2.0, rate_law="brier").reward(batch_of((question, solutions, forecasts)))
    assert found.rewards[4] == pytest.approx(2 * (1 + 1 + 0.9375) / 3)


def test_a_constant_forecast_earns_the_constants_reward_and_no_advantage() -> None:
    question, length = QUESTIONS[0], len(encode(right(QUESTIONS[0]))) + 1
    found = masa().reward(batch_of((question, [right(question), wrong(question)] * 2, [told(["X"], 4, length)] * 4)))
    assert len(set(found.rewards[4:])) == 1
    assert found.rewards[4] == pytest.approx((found.figures["masa/constant_tokens"] + 1) / 3)
    assert found.figures["masa/constant_rate"] == 1.0


def test_a_forecast_that_did_not_stop_is_none() -> None:
    question = QUESTIONS[0]
    found = masa().reward(batch_of((question, [right(question)] * 4, [told(question.bridges, 8, 9)] * 4), cut=(5,)))
    assert found.rewards[5] == 0 < found.rewards[4]


def test_a_question_that_was_not_solved_earns_nothing_and_says_nothing() -> None:
    first, second = QUESTIONS[:2]
    sure = [told(first.bridges, 8, 50)] * 4
    open_ = [told(second.bridges, rate, 400) for rate in (8, 8, 8, 4)]
    batch = batch_of((first, [""] * 4, sure), (second, [right(second)] * 4, open_), limits=[0, 600, 600, 600])
    found = masa(sequential_after=0).reward(batch)
    assert list(found.rewards[:8]) == [0.0] * 8
    assert rows_of(found, "total")[:12] == [None] * 12
    assert all(value is not None for value in rows_of(found, "total")[12:])
    assert list(found.answers or ()) == [False] * 8 + [True] * 4 + [False] * 4
    assert found.figures["masa/questions_solved"] == found.figures["masa/gated"] == 1
    # it was not solved, so nothing is known of the gate
    assert found.figures["masa/gated_share"] == 0.5
    assert not {"masa/gate_precision", "masa/gate_error"} & set(found.figures)
    assert "masa/gate_recall" not in found.figures
    assert found.figures["masa/solve_tokens"] == sum(len(batch.ids[row]) for row in range(8, 12))
    # one question of two was not solved
    assert found.figures["masa/tokens_saved"] == found.figures["masa/solve_tokens"]


def test_a_step_in_one_pass_tells_precision_recall_and_what_a_cutoff_would_lose() -> None:
    one, two, three = QUESTIONS
    sure, unsure = [told(one.bridges, 8, 30)] * 4, [told(two.bridges, rate, 30) for rate in (8, 0, 4, 4)]
    batch = batch_of(
        (one, [right(one)] * 4, sure),
        (two, [right(two), wrong(two)] * 2, [told(two.bridges, 8, 30)] * 4),
        (three, [wrong(three)] * 4, unsure),
    )
    figures = masa().reward(batch).figures
    # gated: one and two; without spread: one and three
    assert figures["masa/gate_precision"] == figures["masa/gate_recall"] == 0.5
    assert figures["masa/gated"] == figures["masa/audited"] == 2
    # foretold 1 and 1, true 1 and 0.5
    assert figures["masa/gate_error"] == 0.25
    # a solution has about 80 characters, the limit is max(64, 2 x 30)
    assert all(len(row) > 64 for row in batch.ids[:4])
    assert figures["masa/right_beyond_cutoff"] == 6
    assert "masa/tokens_saved" not in figures
    assert figures["masa/rows_cut"] == 0


def test_an_audit_shows_a_cutoff_that_confirms_itself() -> None:
    question = QUESTIONS[0]
    short = [told(question.bridges, 8, 10)] * 4
    batch = batch_of((question, [right(question)] * 4, short), limits=[600, 600])
    figures = masa(sequential_after=0).reward(batch).figures
    assert figures["masa/audited"] == 1
    assert figures["masa/right_beyond_cutoff"] == 4
    assert figures["masa/gate_precision"] == 1.0


def test_a_gate_that_is_precise_and_wrong_is_told() -> None:
    question = QUESTIONS[0]
    batch = batch_of((question, [right(question)] * 4, [told(question.bridges, 0, 50)] * 4), limits=[600, 600])
    method = masa(sequential_after=0)
    figures = method.reward(batch).figures
    assert (figures["masa/gate_precision"], figures["masa/gate_error"], figures["masa/gated_share"]) == (1, 1, 1)
    [rule] = [rule for rule in method.healthy_ranges() if rule.name == "masa/gated_share"]
    assert rule.side(figures["masa/gated_share"]) == "above"


def rollouts(*texts: str) -> list[Rollout]:
    return [Rollout(0, index, text, (1,), "stop", 1) for index, text in enumerate(texts)]


def test_forecasts_come_first_and_then_what_they_let_through() -> None:
    method = masa(sequential_after=1, audit_share=0.0)
    rows = method.rows(QUESTIONS)[:4]
    assert method.passes(0, rows, prefilled_think=False) is None
    passes = method.passes(1, rows, prefilled_think=False)
    assert passes is not None
    assert next(passes) == {1: 600, 3: 600}
    sure, unsure = [told(["X"], 0, 50)] * 4, [told(["X"], 4, tokens) for tokens in (100, 120, 90, 110)]
    assert passes.send({1: rollouts(*sure), 3: rollouts(*unsure)}) == {0: 0, 2: 210}
    with pytest.raises(StopIteration):
        passes.send({})


def test_audited_questions_are_solved_without_a_cut() -> None:
    rows = masa().rows(QUESTIONS)[:2]
    step = next(step for step in range(99) if is_audited(0, step, rows[0].question.question_id, 0.1))
    passes = masa(sequential_after=0).passes(step, rows, prefilled_think=False)
    assert passes is not None
    next(passes)
    assert passes.send({1: rollouts(*[told(["X"], 8, 20)] * 4)}) == {0: 600}
