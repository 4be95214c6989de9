"""The budget: what is spent, what is set aside, where it stops; the estimate beforehand."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from teacher_server import Answer, Body, completion, refusal, teacher_server

from mbt_lite.endpoint.budget import Budget, Cost, Estimate, estimate, estimate_prompt_tokens, most_prompt_tokens
from mbt_lite.endpoint.replies import Reply, TeacherRequest, count_usage, tokens_of
from mbt_lite.errors import TeacherError
from mbt_lite.files import read_jsonl
from mbt_lite.recipe.schema import Teacher

Ask = Callable[..., dict[str, Reply]]

# 2 dollars for a million prompt tokens, 8 for completions
PRICES = {"price_per_million_prompt_tokens": 2.0, "price_per_million_completion_tokens": 8.0}


def settings(**changes: Any) -> Teacher:
    return Teacher(**{"base_url": "http://x/v1", "model": "m", "max_completion_tokens": 100, **changes})


def request(text: str, label: str = "q0") -> TeacherRequest:
    return TeacherRequest("mbt_s", label, ({"role": "user", "content": text},), 0)


def reply(prompt: int | None, completion: int | None, text: str = "x", estimated: int | None = None) -> Reply:
    return Reply("k", "mbt_s", "q0", text, "stop", "m", prompt, completion, estimated)


def test_estimate_counts_characters_and_full_completions() -> None:
    requests = [request("a" * 400), request("b" * 41, "q1"), request("a" * 400, "the same again")]
    # 100 + 8 and 11 + 8 prompt tokens
    assert estimate(requests, settings()) == Estimate(2, 127, 200, None)
    assert estimate(requests, settings(**PRICES)).usd == pytest.approx((127 * 2 + 200 * 8) / 1e6)


def test_estimate_of_nothing_is_nothing() -> None:
    assert estimate([], settings(**PRICES)) == Estimate(0, 0, 0, 0.0)


@given(st.text(max_size=50))
def test_most_prompt_tokens_is_no_less_than_the_estimate(text: str) -> None:
    messages = ({"role": "user", "content": text},)
    assert most_prompt_tokens(messages) >= estimate_prompt_tokens(messages)


def test_tokens_of_estimates_what_was_not_counted() -> None:
    assert tokens_of(reply(7, 3)) == (7, 3)
    assert tokens_of(reply(None, None, "x" * 41, 20)) == (20, 11)


def test_budget_adds_up_what_is_spent_and_set_aside() -> None:
    budget = Budget(settings(budget_usd=1.0, **PRICES), [reply(1000, 100), reply(None, None, "x" * 400, 50)])
    assert budget.spent.tokens == 1250
    assert budget.spent.usd == pytest.approx((1050 * 2 + 200 * 8) / 1e6)
    most = budget.most(request("a" * 20))
    # twenty bytes are ten tokens at most, and eight around them
    assert most == Cost(118, (18 * 2 + 100 * 8) / 1e6)
    budget.reserve(most)
    budget.settle(most, reply(5, 10))
    assert budget.spent.tokens == 1265
    assert (budget.reserved.tokens, budget.under_way) == (0, 0)


def test_budget_counts_what_is_under_way_as_if_it_cost_the_most() -> None:
    budget = Budget(settings(budget_tokens=300), [reply(40, 10)])
    most = budget.most(request("a" * 20))
    assert budget.exceeded_by(most) is None
    budget.reserve(most)
    # 50 + 118 + 118 are 286
    assert budget.exceeded_by(most) is None
    budget.reserve(most)
    told = "50 of 300 tokens are spent, the next request may need 118; raise teacher.budget_tokens"
    assert budget.exceeded_by(most) == told


def test_count_usage_with_prices_tells_dollars_per_kind() -> None:
    usage = count_usage([reply(1000, 100), reply(None, None, "x" * 400, 50)], settings(**PRICES))
    assert usage["mbt_s"]["usd"] == pytest.approx((1050 * 2 + 200 * 8) / 1e6)
    assert "usd" not in count_usage([reply(1, 1)], settings())["mbt_s"]


def slow(tokens: tuple[int, int] | None) -> Callable[[int, Body], Answer]:
    def answer(number: int, body: Body) -> Answer:
        time.sleep(0.01)
        return completion("x" * 80, usage=tokens)

    return answer


@pytest.mark.parametrize("usage", [(10, 20), None], ids=["counted", "not counted"])
@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ({"budget_tokens": 500}, r"\d+ of 500 tokens are spent, .*; raise teacher\.budget_tokens and run"),
        ({"budget_usd": 0.003, **PRICES}, r"0\.00\d+ of 0\.003 USD are spent, .*; raise teacher\.budget_usd and run"),
    ],
    ids=["tokens", "dollars"],
)
def test_complete_stops_before_the_budget_is_exceeded_and_goes_on_with_more(
    ask: Ask, tmp_path: Path, limit: dict[str, Any], told: str, usage: tuple[int, int] | None
) -> None:
    with teacher_server(slow(usage)) as server:
        with pytest.raises(TeacherError, match=rf"^teacher {server.url}: {told} the same command again, all replies"):
            ask(server, n=40, concurrency=4, max_completion_tokens=50, **limit)
        rows = read_jsonl(tmp_path / "replies.jsonl")
        spent = sum((Budget(settings(**limit), [Reply(**row)]).spent for row in rows), Cost())
        assert len(rows) == len(server.bodies) < 40
        # nothing is exceeded, and no more is left than a request may need
        limited, most = (500, 62) if "budget_tokens" in limit else (3000, 425)
        amount = spent.tokens if "budget_tokens" in limit else spent.usd * 1e6
        assert limited - most <= amount <= limited
        more = {name: value * 10 for name, value in limit.items() if name.startswith("budget")}
        assert len(ask(server, n=40, concurrency=4, max_completion_tokens=50, **{**limit, **more})) == 40
    assert set(server.count_seeds().values()) == {1}


def test_complete_gives_back_what_a_failed_request_had_set_aside(ask: Ask) -> None:
    def answer(number: int, body: Body) -> Answer:
        return completion(usage=(10, 5)) if body["seed"] % 2 else refusal(400)

    with teacher_server(answer) as server:
        # room for one under way and for five replies
        assert len(ask(server, n=10, concurrency=4, max_completion_tokens=50, budget_tokens=135)) == 10


def test_complete_without_room_for_one_request_sends_none(ask: Ask) -> None:
    with teacher_server(completion()) as server, pytest.raises(TeacherError, match="0 of 40 tokens are spent"):
        ask(server, n=3, max_completion_tokens=50, budget_tokens=40)
    assert server.bodies == []
