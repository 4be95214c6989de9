"""Servers that differ: each refusal is learnt once for the session, and the request's key stays the same."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from teacher_server import Answer, Body, completion, delta, refusal, stream, teacher_server

from mbt_lite.endpoint.dialect import Dialect
from mbt_lite.endpoint.replies import Reply
from mbt_lite.files import read_jsonl

Ask = Callable[..., dict[str, Reply]]

OLD_LIMIT = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
STREAMED = stream(
    delta(role="assistant", content=""),
    delta(reasoning_content="secret"),
    delta(content="We read. "),
    delta(content="It is Nora."),
    delta("stop"),
    {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}},
)


def picky(wrong: Callable[[Body], bool], said: str, then: Answer | None = None) -> Callable[[int, Body], Answer]:
    """Refuse the bodies that are `wrong`, and answer the others."""
    return lambda number, body: refusal(400, said) if wrong(body) else (then or completion())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("max_tokens", OLD_LIMIT),
        ("seed", "Unsupported parameter: 'seed'"),
        ("seed", '[{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]'),
        ("top_p", "`top_p` is not supported with this model"),
        ("temperature", "Unsupported value: 'temperature' does not support 0.6 with this model."),
    ],
    ids=["max_tokens", "seed", "seed, fastapi", "top_p", "temperature"],
)
def test_complete_spells_a_request_as_the_server_takes_it(
    ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    with teacher_server(completion()) as server:
        ask(server, n=6)
    keys = {row["label"]: row["key"] for row in read_jsonl(tmp_path / "replies.jsonl")}
    (tmp_path / "replies.jsonl").unlink()
    with teacher_server(picky(lambda body: name in body, said)) as server:
        replies = ask(server, n=6, concurrency=2)
    assert {label: reply.key for label, reply in replies.items()} == keys
    # at most those that were under way together were refused
    refused = [body for body in server.bodies if name in body]
    assert 1 <= len(refused) <= 2
    assert len(server.bodies) == 6 + len(refused)
    assert capsys.readouterr().err.count("teacher http") == 1
    assert ("max_completion_tokens" in server.bodies[-1]) == (name == "max_tokens")


def test_complete_learns_several_things_of_one_server(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(number: int, body: Body) -> Answer:
        for name in ("seed", "top_p"):
            if name in body:
                return refusal(400, f"unknown parameter {name}")
        if "max_tokens" in body:
            return refusal(400, OLD_LIMIT)
        if not body.get("stream"):
            return refusal(400, "stream must be true")
        return refusal(400, "stream_options is not supported") if "stream_options" in body else STREAMED

    with teacher_server(answer) as server:
        reply = ask(server, attempts=1)["q0"]
    assert reply.text == "We read. It is Nora."
    assert server.bodies[-1].keys() == {"model", "messages", "temperature", "max_completion_tokens", "stream"}
    assert len(capsys.readouterr().err.splitlines()) == 5


@pytest.mark.parametrize(
    "said",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens.",
        "'max_tokens' or 'max_completion_tokens' is too large: 8192. This model's maximum context length is 4096.",
        "top_p must be above 0",
    ],
    ids=["context", "context, naming the limits", "a bad value"],
)
def test_complete_refused_for_its_length_is_told_and_the_others_go_on(ask: Ask, said: str) -> None:
    with teacher_server(picky(lambda body: body["seed"] == 1, said)) as server:
        replies = ask(server, n=4)
    assert [reply.finish_reason for reply in replies.values()] == ["stop", "refused", "stop", "stop"]
    assert replies["q1"].text == f"400: {said}"
    assert len(server.bodies) == 4
    assert all({"seed", "top_p", "max_tokens"} <= body.keys() for body in server.bodies)


@pytest.mark.parametrize(
    "said", ["Stream must be set to true", "This model supports only streaming", "`stream=true` is required"]
)
def test_complete_streams_where_it_must(ask: Ask, tmp_path: Path, said: str) -> None:
    with teacher_server(picky(lambda body: not body.get("stream"), said, STREAMED)) as server:
        replies = ask(server, n=3, concurrency=1)
    assert [reply.text for reply in replies.values()] == ["We read. It is Nora."] * 3
    assert [body.get("stream") for body in server.bodies] == [None, True, True, True]
    assert (replies["q0"].prompt_tokens, replies["q0"].completion_tokens) == (7, 3)
    assert "secret" not in (tmp_path / "replies.jsonl").read_text()


@pytest.mark.parametrize("end", ["\r\n", "\r"], ids=["CRLF", "CR"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "BOM"])
def test_complete_reads_every_line_ending_and_byte_order_mark(ask: Ask, end: str, mark: str) -> None:
    written = dataclasses.replace(STREAMED, content=mark + STREAMED.content.replace("\n", end))
    with teacher_server(written, Answer(200, mark + completion("Yes.").content)) as server:
        replies = ask(server, n=2, concurrency=1)
    assert [reply.text for reply in replies.values()] == ["We read. It is Nora.", "Yes."]


def test_complete_reads_a_stream_that_it_did_not_ask_for(ask: Ask) -> None:
    with teacher_server(STREAMED) as server:
        assert ask(server)["q0"].text == "We read. It is Nora."
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "broken",
    [
        stream(delta(content="We rea"), done=False),
        stream(delta(content="We rea"), {"error": {"message": "overloaded"}}),
        Answer(200, 'data: {"id": "c", "mod'),
        stream(),
    ],
    ids=["no end", "an error", "half a chunk", "nothing"],
)
def test_complete_tries_a_broken_stream_again(ask: Ask, broken: Answer) -> None:
    with teacher_server(broken, STREAMED) as server:
        assert ask(server)["q0"].text == "We read. It is Nora."
    assert len(server.bodies) == 2


def test_complete_without_usage_keeps_an_estimate_of_the_prompt(ask: Ask) -> None:
    with teacher_server(completion(usage=None)) as server:
        reply = ask(server)["q0"]
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)
    # "? 0": one token, and eight around the message
    assert reply.estimated_prompt_tokens == 9


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"max_tokens": 5, "seed": 1}, "the prompt is too long"),
        ({"max_tokens": 5}, "seed is not supported"),
        ({"max_completion_tokens": 5}, OLD_LIMIT),
        ({"max_tokens": 5, "seed": 1}, "seedlings are not supported"),
    ],
    ids=["another reason", "was not sent", "was said already", "part of a word"],
)
def test_learn_learns_nothing_from_other_refusals(sent: dict[str, Any], said: str) -> None:
    assert Dialect().learn(sent, said, None) is None
