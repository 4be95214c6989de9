"""The pace of a session: overloaded servers are asked less, waits hold for all requests, several servers share work."""

import threading
import time
from collections.abc import Callable

import pytest
from teacher_server import Answer, Body, completion, refusal, teacher_server

from mbt_lite.endpoint.dialect import Dialect
from mbt_lite.endpoint.replies import Reply
from mbt_lite.endpoint.servers import Server, Servers
from mbt_lite.errors import TeacherError

Ask = Callable[..., dict[str, Reply]]


def slow_completion(number: int, body: Body) -> Answer:
    time.sleep(0.02)
    return completion()


def make_server(concurrency: int = 16) -> Server:
    return Server("http://x/v1", None, Dialect(), concurrency, has_key=False)  # type: ignore[arg-type]


def test_slow_down_halves_once_for_requests_under_way_together_and_successes_bring_it_back() -> None:
    server = make_server(16)
    sent_at = time.monotonic()
    for _ in range(5):
        server.slow_down(sent_at)
    assert server.limit == 8
    server.slow_down(time.monotonic())
    assert server.limit == 4
    for _ in range(5):
        server.note_success()
    assert 5 <= server.limit < 5.3
    for _ in range(500):
        server.note_success()
    assert server.limit == 16


def test_slow_down_never_stops() -> None:
    server = make_server(4)
    for _ in range(9):
        server.slow_down(time.monotonic())
    assert server.limit == 1
    assert Servers([server], "teacher", print).all[0].has_room(time.monotonic())


def test_complete_asks_an_overloaded_server_less_until_it_recovers(ask: Ask) -> None:
    capacity, lock, under_way, refused = 4, threading.Lock(), [0], [0]

    def answer(number: int, body: Body) -> Answer:
        with lock:
            under_way[0] += 1
            is_full = under_way[0] > capacity
            refused[0] += is_full
        time.sleep(0.01)
        with lock:
            under_way[0] -= 1
        return refusal(429) if is_full else completion()

    with teacher_server(answer) as server:
        assert len(ask(server, n=150, concurrency=16, attempts=20)) == 150
    # without back-off three of four attempts would be refused
    assert refused[0] < 75, refused
    assert len(server.bodies) == 150 + refused[0]


def test_complete_holds_all_requests_while_a_server_asks_to_wait(ask: Ask) -> None:
    times: list[float] = []

    def answer(number: int, body: Body) -> Answer:
        times.append(time.monotonic())
        return refusal(429, Retry_After="1") if number == 1 else slow_completion(number, body)

    with teacher_server(answer) as server:
        ask(server, n=12, concurrency=2)
    first = times[0]
    # one more may have been on its way
    assert sum(0.2 < at - first < 0.9 for at in times) == 0
    assert sum(at - first >= 0.9 for at in times) >= 10


def test_complete_spreads_over_several_servers(ask: Ask) -> None:
    with teacher_server(slow_completion) as first, teacher_server(slow_completion) as second:
        assert len(ask([first, second], n=40, concurrency=8)) == 40
    assert len(first.bodies) + len(second.bodies) == 40
    assert min(len(first.bodies), len(second.bodies)) >= 12
    assert first.most_under_way + second.most_under_way <= 10


def test_complete_puts_a_server_that_is_down_aside(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    with teacher_server(completion()) as gone:
        pass
    with teacher_server(slow_completion) as server:
        assert len(ask([gone, server], n=12, concurrency=4, attempts=1)) == 12
    assert len(server.bodies) == 12
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"teacher {gone.url}: cannot connect; put aside for 60 s, the others go on"


def test_complete_puts_a_server_that_always_fails_aside(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    with teacher_server(refusal(503, "down")) as bad, teacher_server(slow_completion) as good:
        assert len(ask([bad, good], n=30, concurrency=4, attempts=6)) == 30
    assert len(good.bodies) == 30
    assert len(bad.bodies) <= 8
    assert "503 (down); put aside for 60 s" in capsys.readouterr().err


def test_complete_with_all_servers_down_names_one_and_the_cure(ask: Ask) -> None:
    with teacher_server(completion()) as first, teacher_server(completion()) as second:
        pass
    started = time.monotonic()
    with pytest.raises(TeacherError, match=r"cannot connect after 3 attempts; start the server or set"):
        ask([first, second], n=4)
    assert time.monotonic() - started < 8


def test_complete_uses_the_dialect_of_each_server(ask: Ask) -> None:
    def new(number: int, body: Body) -> Answer:
        time.sleep(0.02)
        return refusal(400, "unknown parameter: seed") if "seed" in body else completion()

    with teacher_server(new) as first, teacher_server(slow_completion) as second:
        replies = ask([first, second], n=20, concurrency=4)
    assert {reply.finish_reason for reply in replies.values()} == {"stop"}
    assert all("seed" in body for body in second.bodies)
    assert sum("seed" not in body for body in first.bodies) >= 4


def test_complete_one_server_asking_for_a_long_wait_leaves_the_work_to_the_other(ask: Ask) -> None:
    with teacher_server(refusal(429, Retry_After="50")) as busy, teacher_server(slow_completion) as server:
        assert len(ask([busy, server], n=12, concurrency=4)) == 12
    assert len(server.bodies) == 12
