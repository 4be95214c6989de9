"""The scripted teacher's server over real HTTP: the schema of its replies, what it refuses, how it starts and ends."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mbt_lite.data.questions import read_questions
from mbt_lite.endpoint.client import complete
from mbt_lite.endpoint.replies import ReplyJournal, TeacherRequest
from mbt_lite.errors import TeacherError
from mbt_lite.recipe.schema import Questions, Teacher
from mbt_lite.records import Question
from mbt_lite.scripted import server as scripted
from mbt_lite.traces.checks import rejection
from mbt_lite.traces.kinds import mbt_s
from mbt_lite.traces.reply import read_reply

WORDS = (120, 300)
CHAT = "/v1/chat/completions"


def demo(limit: int) -> list[Question]:
    return read_questions(Questions(path="data_samples/demo_train.jsonl"), 0)[:limit]


def chat(**changes: Any) -> str:
    """Give the body of a request that the server answers."""
    return json.dumps({"model": "scripted", "messages": mbt_s.trace_request(demo(1)[0], WORDS), "seed": 3, **changes})


def user(content: Any) -> str:
    """Give the body of a request with one user message."""
    return json.dumps({"model": "scripted", "messages": [{"role": "user", "content": content}]})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with scripted.serve() as base_url:
        yield base_url


def call(url: str, method: str, path: str, body: str | bytes | None = None) -> tuple[int, dict[str, Any]]:
    """Send one plain HTTP request; give status and JSON body."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_serve_answers_our_requests_in_the_schema(url: str) -> None:
    status, reply = call(url, "POST", CHAT, chat())
    assert status == 200
    assert set(reply) == {"id", "object", "created", "model", "choices", "usage"}
    assert (reply["object"], reply["model"]) == ("chat.completion", "scripted")
    (choice,) = reply["choices"]
    assert (choice["index"], choice["finish_reason"], choice["message"]["role"]) == (0, "stop", "assistant")
    assert set(choice["message"]) == {"role", "content"}
    usage = reply["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == len(choice["message"]["content"].split())


def test_serve_answers_the_same_request_with_the_same_bytes(url: str) -> None:
    with scripted.serve() as other:
        assert call(url, "POST", CHAT, chat()) == call(other, "POST", CHAT, chat())
    assert (
        call(url, "POST", CHAT, chat(seed=0))[1]["choices"]
        == call(url, "POST", CHAT, chat(seed=0, top_p=1))[1]["choices"]
    )


def test_serve_lists_its_model(url: str) -> None:
    status, reply = call(url, "GET", "/v1/models")
    assert (status, [model["id"] for model in reply["data"]]) == (200, ["scripted"])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("GET", "/v1/x", None, 404, "no such path"),
        ("POST", "/v1/x", "{}", 404, "no such path"),
        ("POST", CHAT, "", 400, "not a chat request"),
        ("POST", CHAT, "{", 400, "not a chat request"),
        ("POST", CHAT, b"\xff{}", 400, "not a chat request"),
        ("POST", CHAT, "[]", 400, "not a chat request"),
        ("POST", CHAT, '{"model": "scripted"}', 400, "not a chat request"),
        ("POST", CHAT, '{"model": "scripted", "messages": ["Hello"]}', 400, "not a chat request"),
        ("POST", CHAT, user(None), 400, "reads plain text only"),
        ("POST", CHAT, user([{"type": "text", "text": "Hello"}]), 400, "reads plain text only"),
        ("POST", CHAT, '{"model": "gpt", "messages": []}', 404, "no such model: gpt"),
        ("POST", CHAT, '{"model": "scripted", "messages": []}', 400, "not a request of mbt-lite"),
        ("POST", CHAT, user("Hello"), 400, "not a request of mbt-lite"),
        ("POST", CHAT, user("Task: write a monologue.\n=== question ===\nWhy?"), 400, "no section correct answer"),
    ],
    ids=[
        *("unknown page", "unknown path", "nothing", "broken json", "not utf-8", "a list", "no messages", "no roles"),
        *("null content", "content in parts", "other model", "empty chat", "another's request", "no answer"),
    ],
)
def test_serve_refuses_in_the_schemas_words(
    url: str, method: str, path: str, body: str | bytes | None, status: int, told: str
) -> None:
    got, reply = call(url, method, path, body)
    assert got == status
    assert told in reply["error"]["message"]


@pytest.mark.parametrize("length", ["", "Content-Length: abc\r\n", "Content-Length: -1\r\n", "Content-Length: ²\r\n"])
def test_serve_refuses_a_body_of_unknown_length_and_hangs_up(url: str, length: str) -> None:
    address = urlsplit(url)
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=10) as connection:
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{length}\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 411 ")
    assert b"no length in bytes" in answer


def test_serve_shows_each_request_to_on_request() -> None:
    seen: list[dict[str, Any]] = []
    with scripted.serve(on_request=seen.append) as base_url:
        call(base_url, "POST", CHAT, chat())
    assert seen == [json.loads(chat())]


def test_serve_on_a_taken_port_is_a_teacher_error(url: str) -> None:
    with (
        pytest.raises(TeacherError, match=r"^teacher 127\.0\.0\.1:\d+: cannot listen .*; choose another port$"),
        scripted.serve(port=urlsplit(url).port or 0),
    ):
        pass


def test_serve_forever_prints_its_url(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted.Server, "serve_forever", lambda self: None)
    scripted.serve_forever(port=0)
    assert capsys.readouterr().out.startswith("scripted teacher at http://127.0.0.1:")


def test_serve_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with scripted.serve():
        assert threading.active_count() > before
    assert threading.active_count() == before


def test_client_and_server_pass_the_gate_on_demo_rows(url: str, tmp_path: Path) -> None:
    questions = demo(60)
    requests = [TeacherRequest("mbt_s", one.question_id, mbt_s.trace_request(one, WORDS), 1) for one in questions]
    with ReplyJournal(tmp_path / "replies.jsonl") as journal:
        replies = complete(requests, Teacher(), url, journal)
    read = {key: read_reply(reply.text, has_phases=True) for key, reply in replies.items()}
    faults = [rejection(read[one.question_id].text, "stop", one) for one in questions]
    assert faults == [None] * 60
    assert {reply.model for reply in replies.values()} == {"scripted"}


def test_client_reports_what_the_server_refuses(url: str, tmp_path: Path) -> None:
    request = TeacherRequest("mbt_s", "q0", ({"role": "user", "content": "Hello"},), 1)
    with ReplyJournal(tmp_path / "replies.jsonl") as journal:
        reply = complete([request], Teacher(), url, journal)["q0"]
    assert (reply.finish_reason, reply.text[:30]) == ("refused", "400: not a request of mbt-lite")
