"""A server that goes away for a while is waited for; one that never was there is told at once."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from teacher_server import RESET, Answer, Body, TeacherServer, completion, refusal, teacher_server
from test_teacher_stop import asking

from mbt_lite.endpoint import session
from mbt_lite.endpoint.replies import Reply
from mbt_lite.errors import TeacherError
from mbt_lite.files import read_jsonl

Ask = Callable[..., dict[str, Reply]]


def answer_seed(number: int, body: Body) -> Answer:
    time.sleep(0.01)
    return completion(str(body["seed"]))


@contextmanager
def restarting(after: int, away_seconds: float | None) -> Iterator[str]:
    """Serve, die after so many replies, and come back on the same port some seconds later, or never."""
    dies, is_over = threading.Event(), threading.Event()

    def answer(number: int, body: Body) -> Answer:
        if number > after:
            dies.set()
        return RESET if number > after else answer_seed(number, body)

    def live(server: TeacherServer, until: threading.Event) -> None:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        until.wait(60)
        server.shutdown()
        server.server_close()

    def lives() -> None:
        live(first, dies)
        if away_seconds is not None and not is_over.wait(away_seconds):
            live(TeacherServer(answer_seed, port), is_over)

    first = TeacherServer(answer)
    port = first.server_address[1]
    keeper = threading.Thread(target=lives)
    keeper.start()
    try:
        yield first.url
    finally:
        dies.set()
        is_over.set()
        keeper.join()


def wait_for(path: Path, n: int) -> None:
    deadline = time.monotonic() + 30
    while len(read_jsonl(path)) < n:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_complete_waits_for_a_server_that_restarts(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    with restarting(after=12, away_seconds=2.0) as url:
        replies = ask(url, n=40, concurrency=4, attempts=5)
    assert [reply.text for reply in replies.values()] == [str(seed) for seed in range(40)]
    told = capsys.readouterr().err.splitlines()
    assert [line.partition("/v1: ")[2].partition(" after")[0] for line in told] == [
        "cannot connect; it is waited for, up to 6 s",
        "it is back",
    ]


def test_complete_gives_up_a_server_that_stays_away_and_keeps_what_came(
    ask: Ask, journaled: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_OUTAGE_WAITS", 200.0)
    started = time.monotonic()
    with (
        restarting(after=12, away_seconds=None) as url,
        pytest.raises(TeacherError, match=r"cannot connect, and was not back within 2 s; start the server, then run"),
    ):
        ask(url, n=40, concurrency=4, attempts=2)
    assert 1.8 < time.monotonic() - started < 15
    assert len(journaled()) == 12


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_complete_is_interrupted_while_it_waits(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "replies.jsonl"
    with teacher_server(lambda _, body: completion(str(body["seed"]))) as server:
        server.answer = lambda count, body: (
            completion(str(body["seed"])) if count <= 9 else refusal(503, "loading model")
        )
        with asking(server, path, until=11) as process:
            wait_for(path, 9)
            os.kill(process.pid, number)
            started = time.monotonic()
            _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert time.monotonic() - started < 30
    assert "503 (loading model); it is waited for, up to 600 s" in told


@pytest.mark.parametrize("status", [502, 503, 504])
def test_complete_waits_while_a_proxy_says_that_its_server_is_away(ask: Ask, status: int) -> None:
    def answer(number: int, body: Body) -> Answer:
        return refusal(status, "bad gateway") if 4 < number < 9 else completion()

    with teacher_server(answer) as server:
        replies = ask(server, n=8, concurrency=1, attempts=2)
    assert {reply.finish_reason for reply in replies.values()} == {"stop"}


def test_complete_gives_up_one_request_that_alone_has_no_server(ask: Ask) -> None:
    def answer(number: int, body: Body) -> Answer:
        time.sleep(0.01)
        return refusal(503) if body["seed"] == 3 else completion()

    with (
        teacher_server(answer) as server,
        pytest.raises(TeacherError, match=r"1 of 60 requests got no reply \(first: q3: 503"),
    ):
        ask(server, n=60, concurrency=2, attempts=2)
    assert server.count_seeds()[3] <= 4


def test_complete_waits_for_a_model_that_is_still_loading(ask: Ask) -> None:
    def answer(number: int, body: Body) -> Answer:
        return refusal(503, "Loading model") if number < 6 else completion()

    with teacher_server(answer) as server:
        assert ask(server, concurrency=1, attempts=2)["q0"].finish_reason == "stop"


def test_complete_where_nothing_ever_listened_says_so_within_seconds(ask: Ask, free_port: int) -> None:
    started = time.monotonic()
    with pytest.raises(
        TeacherError, match=r"cannot connect after 3 attempts; start the server or set teacher.base_url"
    ):
        ask(f"http://127.0.0.1:{free_port}/v1", n=40)
    assert time.monotonic() - started < 30


def test_complete_tells_once_of_each_server_that_is_down_whatever_its_place(
    ask: Ask, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in (0, 1):
        with teacher_server(lambda _, body: completion(str(body["seed"]))) as server:
            urls = [server.url]
            urls.insert(place, f"http://127.0.0.1:{free_port}/v1")
            # a second go asks for others
            assert len(ask(urls, n=10 * (place + 1), concurrency=1, attempts=1)) == 10 * (place + 1)
        assert len(capsys.readouterr().err.splitlines()) <= 1
