"""The real client against real servers on loopback: what it sends, what it retries, and when it gives up."""

import email.utils
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from teacher_server import KEY, RESET, Answer, Body, completion, half, refusal, teacher_server

from mbt_lite.endpoint.replies import Reply
from mbt_lite.endpoint.session import FAILURES_IN_A_ROW
from mbt_lite.errors import TeacherError

Ask = Callable[..., dict[str, Reply]]


def fail_second(answer: Answer) -> Callable[[int, Body], Answer]:
    """Give the answer to the request with seed 1, a completion to the others."""
    return lambda number, body: answer if body["seed"] == 1 else completion()


def test_complete_sends_the_request_and_reads_the_reply(ask: Ask) -> None:
    with teacher_server(completion(" Text. ")) as server:
        reply = ask(server, temperature=0.5, top_p=0.9, max_completion_tokens=64)["q0"]
    assert server.bodies == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "? 0"}],
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 64,
            "seed": 0,
        }
    ]
    assert (reply.text, reply.finish_reason, reply.model) == ("Text.", "stop", "m")
    assert (reply.prompt_tokens, reply.completion_tokens) == (7, 3)


@pytest.mark.parametrize(
    ("answer", "text", "finish_reason"),
    [
        (completion("Text.", reasoning_content="<think>secret</think>", reasoning="secret"), "Text.", "stop"),
        (completion(None, reasoning_content="secret", finish_reason="length"), "", "length"),
        (completion(None), "", "stop"),
        (completion("Te", finish_reason="length"), "Te", "length"),
        (completion("Text.", usage=None), "Text.", "stop"),
    ],
    ids=["reasoning beside the content", "only reasoning", "null content", "cut off", "no usage"],
)
def test_complete_uses_the_content_only(
    ask: Ask, tmp_path: Path, answer: Answer, text: str, finish_reason: str
) -> None:
    with teacher_server(answer) as server:
        reply = ask(server)["q0"]
    assert (reply.text, reply.finish_reason) == (text, finish_reason)
    assert "secret" not in (tmp_path / "replies.jsonl").read_text()


@pytest.mark.parametrize(
    "first",
    [
        refusal(500),
        Answer(502, "<html>Bad gateway", (("Content-Type", "text/html"),)),
        Answer(503, ""),
        refusal(408),
        refusal(429),
        refusal(429, Retry_After="0"),
        refusal(429, Retry_After="soon"),
        Answer(200, completion().content[:40]),
        half(completion()),
        RESET,
        Answer(200, '{"choices": []}'),
        Answer(200, '{"error": {"message": "overloaded"}}'),
        Answer(200, "[]"),
        Answer(200, "<html>", (("Content-Type", "text/html"),)),
        completion(None, finish_reason=None),
        completion(finish_reason="error"),
    ],
    ids=[
        *("500", "502 html", "503 empty", "408", "429", "429 wait 0", "429 odd wait", "half json", "half a body"),
        *("reset", "no choices", "an error with status 200", "a list", "html", "no text and no end", "broken off"),
    ],
)
def test_complete_tries_again_what_may_pass(ask: Ask, journaled: Callable[[], list[str]], first: Answer) -> None:
    with teacher_server(first, completion()) as server:
        assert ask(server)["q0"].finish_reason == "stop"
    assert len(server.bodies) == 2
    assert journaled() == ["q0"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (refusal(500, "oops"), r"500 \(oops\)"),
        (Answer(502, "<html>Bad\n gateway", (("Content-Type", "text/html"),)), r"502 \(<html>Bad gateway\)"),
        (Answer(503, ""), r"503 \(.*\)"),
        (Answer(200, "{nope"), r"reply is not a chat completion \(got '\{nope'\)"),
        (half(completion()), r"connection lost \(RemoteProtocolError\)"),
        (RESET, r"connection lost \(ReadError\)"),
    ],
    ids=["500", "502", "503", "no completion", "half a body", "reset"],
)
def test_complete_says_in_one_line_why_a_request_got_no_reply(ask: Ask, answer: Answer, told: str) -> None:
    pattern = (
        rf"^teacher http://127\.0\.0\.1:\d+/v1: 1 of 1 requests got no reply \(first: q0: {told} after 3 attempts\)"
    )
    with teacher_server(answer) as server, pytest.raises(TeacherError, match=pattern) as caught:
        ask(server)
    assert len(server.bodies) == 3
    assert "\n" not in str(caught.value)


def test_complete_tries_again_after_a_hang(ask: Ask) -> None:
    release = threading.Event()

    def hang(number: int, body: Body) -> Answer:
        release.wait(10)
        return completion()

    with teacher_server(hang, completion()) as server:
        try:
            assert ask(server, timeout_seconds=0.3)["q0"].finish_reason == "stop"
        finally:
            release.set()
    assert len(server.bodies) == 2


def test_complete_names_the_time_out_when_nothing_comes(ask: Ask) -> None:
    release = threading.Event()

    def hang(number: int, body: Body) -> Answer:
        release.wait(10)
        return completion()

    with teacher_server(hang) as server:
        try:
            with pytest.raises(TeacherError, match=r"q0: no reply within 0\.2 s after 2 attempts"):
                ask(server, timeout_seconds=0.2, attempts=2)
        finally:
            release.set()
    assert len(server.bodies) == 2


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "http date"])
def test_complete_waits_as_long_as_it_is_told(ask: Ask, as_date: bool) -> None:
    wait = email.utils.formatdate(time.time() + 2.0, usegmt=True) if as_date else "1"
    with teacher_server(refusal(429, Retry_After=wait), completion()) as server:
        started = time.monotonic()
        ask(server)
    # a date has whole seconds
    assert 0.8 <= time.monotonic() - started < 5
    assert len(server.bodies) == 2


def test_complete_takes_a_date_that_has_passed_as_no_wait(ask: Ask) -> None:
    wait = email.utils.formatdate(time.time() - 3600, usegmt=True)
    with teacher_server(refusal(429, Retry_After=wait), completion()) as server:
        started = time.monotonic()
        ask(server)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "wait", ["Mon, 01 Jan 999999 00:00:00 GMT", "Wed, 21 Oct 99999999999 07:28:00 GMT", "soon", "nan", "-5"]
)
def test_complete_takes_a_wait_that_is_none_for_not_said(ask: Ask, wait: str) -> None:
    with teacher_server(refusal(429, Retry_After=wait), completion()) as server:
        assert ask(server)["q0"].finish_reason == "stop"


def test_complete_does_not_wait_longer_than_a_reply_may_take(ask: Ask) -> None:
    with (
        teacher_server(refusal(429, Retry_After="12")) as server,
        pytest.raises(TeacherError, match=r"429 \(no\), and asks to wait 12 s; run the same command again then"),
    ):
        ask(server)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("status", "has_key", "cure"),
    [
        (401, True, "set TEST_TEACHER_KEY to a valid key"),
        (401, False, "name the key's variable in teacher.api_key_env"),
        (402, False, "top up the account"),
        (403, True, "set TEST_TEACHER_KEY to a valid key"),
        (403, False, "name the key's variable in teacher.api_key_env"),
        (404, False, r"check teacher.base_url and teacher.model \(m\)"),
    ],
)
def test_complete_stops_at_once_when_no_request_can_pass(
    ask: Ask, key: str, status: int, has_key: bool, cure: str
) -> None:
    pattern = rf"^teacher http://127\.0\.0\.1:\d+/v1: {status} after 1 attempt \(got 'no'\); {cure}$"
    with teacher_server(refusal(status)) as server, pytest.raises(TeacherError, match=pattern):
        ask(server, n=3, concurrency=1, api_key_env=key if has_key else None)
    assert len(server.bodies) == 1


def test_complete_stopped_by_one_status_keeps_the_replies_before_it(
    ask: Ask, journaled: Callable[[], list[str]]
) -> None:
    with teacher_server(completion(), completion(), refusal(402)) as server, pytest.raises(TeacherError, match="402"):
        ask(server, n=5, concurrency=1)
    assert journaled() == ["q0", "q1"]
    assert len(server.bodies) == 3


def test_complete_sends_the_named_key_and_no_other(ask: Ask, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not yours")
    with teacher_server(completion()) as server:
        ask(server, api_key_env=key)
        ask(server, n=2)
    first, second = [headers["Authorization"] for headers in server.headers]
    assert first == f"Bearer {KEY}"
    assert KEY not in second
    assert "not yours" not in second


@pytest.mark.parametrize(
    "said",
    [refusal(401, f"wrong key {KEY}"), refusal(500, f"wrong key {KEY}"), Answer(200, f"wrong key {KEY}")],
    ids=["401", "500", "no completion"],
)
def test_complete_keeps_the_key_out_of_errors_and_files(ask: Ask, key: str, tmp_path: Path, said: Answer) -> None:
    with teacher_server(completion(), said) as server, pytest.raises(TeacherError, match=r"wrong key \*\*\*") as caught:
        ask(server, n=2, concurrency=1, api_key_env=key)
    assert KEY not in str(caught.value)
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    assert not any(KEY in text for text in written)


def test_complete_keeps_the_key_out_of_a_refused_reply(ask: Ask, key: str) -> None:
    with teacher_server(refusal(400, f"{'long ' * 38}{KEY}")) as server:
        reply = ask(server, api_key_env=key)["q0"]
    # nor a part of it, where the text is cut
    assert "sk-" not in reply.text


@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_complete_without_the_key_names_its_variable(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("TEST_TEACHER_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("TEST_TEACHER_KEY", value)
    with (
        teacher_server(completion()) as server,
        pytest.raises(TeacherError, match="no key; set the environment variable TEST_TEACHER_KEY"),
    ):
        ask(server, api_key_env="TEST_TEACHER_KEY")
    assert server.bodies == []


@pytest.mark.parametrize("value", [f"{KEY}\n", f"sk\n{KEY}", f" {KEY}", f"{KEY}é"], ids=repr)
def test_complete_refuses_a_key_that_no_header_can_carry(ask: Ask, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TEST_TEACHER_KEY", value)
    with (
        teacher_server(completion()) as server,
        pytest.raises(TeacherError, match="the key in TEST_TEACHER_KEY cannot stand in a header") as caught,
    ):
        ask(server, api_key_env="TEST_TEACHER_KEY")
    assert server.bodies == []
    assert KEY not in str(caught.value)


def test_complete_where_nothing_listens_is_one_line(ask: Ask, free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}/v1"
    started = time.monotonic()
    with pytest.raises(TeacherError) as caught:
        ask(url, n=5)
    told = f"teacher {url}: cannot connect after 3 attempts; start the server or set teacher.base_url"
    assert str(caught.value) == told
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_complete_ignores_proxies_for_a_loopback_teacher(ask: Ask, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    with teacher_server(refusal(403, "proxy")) as proxy, teacher_server(completion()) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            for variable in (name, name.lower()):
                monkeypatch.setenv(variable, proxy.url.removesuffix("/v1"))
        for variable in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(variable, raising=False)
        assert ask(server.url.replace("127.0.0.1", host))["q0"].finish_reason == "stop"
    assert (len(proxy.bodies), len(server.bodies)) == (0, 1)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://x/v1", "http:///v1"])
def test_complete_refuses_what_is_no_url(ask: Ask, url: str) -> None:
    with pytest.raises(TeacherError, match=r"not a URL; set teacher\.base_url to one such as"):
        ask(url)


def test_complete_stops_at_once_when_a_server_says_with_a_400_that_it_has_no_such_model(ask: Ask) -> None:
    pattern = r"400 after 1 attempt \(got \"model 'm' not found\"\); check teacher.base_url and teacher.model \(m\)$"
    with teacher_server(refusal(400, "model 'm' not found")) as server, pytest.raises(TeacherError, match=pattern):
        ask(server, n=3, concurrency=1)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_complete_reports_a_refused_request_and_goes_on(
    ask: Ask, journaled: Callable[[], list[str]], status: int
) -> None:
    with teacher_server(fail_second(refusal(status, "too long"))) as server:
        replies = ask(server, n=3)
    assert [reply.finish_reason for reply in replies.values()] == ["stop", "refused", "stop"]
    assert replies["q1"].text == f"{status}: too long"
    assert set(server.count_seeds().values()) == {1}
    # a refusal cost nothing and may be asked again
    assert sorted(journaled()) == ["q0", "q2"]


def test_complete_asks_again_what_was_refused(ask: Ask) -> None:
    with teacher_server(fail_second(refusal(400))) as server:
        ask(server, n=3)
    with teacher_server(completion()) as server:
        assert ask(server, n=3)["q1"].finish_reason == "stop"
    assert [body["seed"] for body in server.bodies] == [1]


def test_complete_keeps_the_other_replies_when_one_never_comes(ask: Ask, journaled: Callable[[], list[str]]) -> None:
    pattern = r"1 of 3 requests got no reply \(first: q1: 500 \(oops\) after 3 attempts\); run the same command again"
    with teacher_server(fail_second(refusal(500, "oops"))) as server, pytest.raises(TeacherError, match=pattern):
        ask(server, n=3)
    assert server.count_seeds() == {0: 1, 1: 3, 2: 1}
    assert sorted(journaled()) == ["q0", "q2"]
    with teacher_server(completion()) as server:
        assert list(ask(server, n=3)) == ["q0", "q1", "q2"]
    assert server.count_seeds() == {1: 1}


@pytest.mark.parametrize("status", [500, 400], ids=["no reply", "refused"])
def test_complete_gives_up_when_nothing_passes(ask: Ask, status: int) -> None:
    with (
        teacher_server(refusal(status)) as server,
        pytest.raises(TeacherError, match=f"{FAILURES_IN_A_ROW} requests in a row failed .*; mend the endpoint"),
    ):
        ask(server, n=50, concurrency=1, attempts=1)
    assert len(server.bodies) == FAILURES_IN_A_ROW


def test_complete_goes_on_while_some_pass(ask: Ask) -> None:
    def answer(number: int, body: Body) -> Answer:
        return completion() if body["seed"] % FAILURES_IN_A_ROW == 0 else refusal(400)

    with teacher_server(answer) as server:
        replies = ask(server, n=4 * FAILURES_IN_A_ROW, concurrency=1)
    assert [label for label, reply in replies.items() if reply.finish_reason == "stop"] == ["q0", "q8", "q16", "q24"]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_complete_keeps_to_its_concurrency_and_uses_it(ask: Ask, concurrency: int) -> None:
    def answer(number: int, body: Body) -> Answer:
        time.sleep(0.03)
        return completion()

    with teacher_server(answer) as server:
        ask(server, n=12, concurrency=concurrency)
    assert server.most_under_way == concurrency


def test_complete_keeps_to_its_concurrency_while_it_retries(ask: Ask) -> None:
    def answer(number: int, body: Body) -> Answer:
        time.sleep(0.01)
        return refusal(500) if number % 3 == 0 else completion()

    with teacher_server(answer) as server:
        assert len(ask(server, n=20, concurrency=4, attempts=9)) == 20
    assert server.most_under_way <= 4
