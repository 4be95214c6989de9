"""What servers send, in their many words: the text counts, the rest is read where it can be, and else unknown."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from teacher_server import Answer, Body, completion, delta, refusal, stream, teacher_server

from mbt_lite.endpoint.reading import CONTEXT_FULL, HIDDEN_REASONING, NoReplyError, Odd, read_reply
from mbt_lite.endpoint.replies import Reply, TeacherRequest
from mbt_lite.errors import TeacherError
from mbt_lite.recipe.schema import Teacher

Ask = Callable[..., dict[str, Reply]]
TEACHER = Teacher(base_url="http://x/v1", model="m", max_completion_tokens=50)
TRACE, ANSWER = "First the town. It is Oakford.", "<answer>Oakford</answer>"
WHOLE = f"<think>\n{TRACE}\n</think>\n\n{ANSWER}"


def read(answer: Answer, *, is_completion: bool = False, prompt: str = "Why?") -> tuple[Reply, Odd]:
    kind = "draft" if is_completion else "mbt_s"
    request = TeacherRequest(kind, "q0", ({"role": "user", "content": prompt},), 3, is_completion=is_completion)
    return read_reply("k", request, answer.content, TEACHER)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        *((word, "stop") for word in ("stop", "STOP", "eos", "eos_token", "end_turn", "stop_sequence", "completed")),
        *((word, "length") for word in ("length", "MAX_TOKENS", "max_new_tokens", "model_length")),
        *((word, word) for word in ("content_filter", "tool_calls", "safety")),
    ],
)
def test_read_reply_knows_the_words_for_an_end(said: str, expected: str) -> None:
    assert read(completion(finish_reason=said))[0].finish_reason == expected


@pytest.mark.parametrize(
    ("tokens", "of_teacher", "of_student"),
    [(50, "length", "length"), (49, "length", "length"), (30, "length", CONTEXT_FULL)],
    ids=["at the limit", "the last one not counted", "before the limit"],
)
def test_read_reply_tells_a_context_that_is_full_from_the_limit(tokens: int, of_teacher: str, of_student: str) -> None:
    cut = completion(finish_reason="length", usage=(20, tokens))
    assert read(cut)[0].finish_reason == of_teacher
    reply, odd = read(cut, is_completion=True)
    assert reply.finish_reason == of_student
    assert ("cut a reply after 30 of 50 tokens" in odd.get("full", "")) == (tokens == 30)


@pytest.mark.parametrize("said", [None, "", " "])
@pytest.mark.parametrize(
    ("usage", "expected"),
    [((7, 3), "stop"), ((7, 50), "length"), (None, "stop")],
    ids=["below the limit", "at the limit", "not counted"],
)
def test_read_reply_tells_an_end_that_is_not_said_by_the_length(said: Any, usage: Any, expected: str) -> None:
    reply, odd = read(completion(finish_reason=said, usage=usage))
    assert reply.finish_reason == expected
    assert "does not say how replies end" in odd["ending"]


def test_read_reply_estimates_the_length_where_nothing_is_counted() -> None:
    assert read(completion("x" * 400, finish_reason=None, usage=None))[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 3}, (7, 3)),
        ({"prompt_tokens": 7.0, "completion_tokens": 3.0}, (7, 3)),
        ({"input_tokens": 7, "output_tokens": 3}, (7, 3)),
        ({"prompt_tokens": 7, "total_tokens": 10}, (7, 3)),
        ({"prompt_tokens": 20, "total_tokens": 20}, (20, None)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (None, None)),
        ({"prompt_tokens": -1, "completion_tokens": 2.5}, (None, None)),
        ({"prompt_tokens": "7", "completion_tokens": True}, (None, None)),
        ({"prompt_tokens": float("nan"), "completion_tokens": 3}, (None, 3)),
        ({}, (None, None)),
        (None, (None, None)),
        ([7, 3], (None, None)),
        ("7", (None, None)),
    ],
    ids=lambda value: json.dumps(value) if not isinstance(value, tuple) else "",
)
def test_read_reply_reads_usage_where_it_can(usage: Any, expected: tuple[int | None, int | None]) -> None:
    reply, _ = read(completion(usage=usage))
    assert (reply.prompt_tokens, reply.completion_tokens) == expected
    assert (reply.estimated_prompt_tokens is None) == (None not in expected)


def test_read_reply_takes_no_tokens_of_an_empty_text_for_none() -> None:
    assert read(completion("", usage=(7, 0)))[0].completion_tokens == 0


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "Rome"}], "Rome"),
        ([{"type": "text", "text": "Ro"}, {"type": "text", "text": "me"}], "Rome"),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Rome"}],
            "Rome",
        ),
        ([{"type": "reasoning", "reasoning": "Hm."}, {"text": "Rome"}], "Rome"),
        (["Rome"], "Rome"),
        ([{"type": "text", "text": {"value": "Rome", "annotations": []}}], "Rome"),
        ([{"type": "image_url", "image_url": "x"}, {"type": "text", "text": None}], ""),
        ([], ""),
    ],
    ids=["one part", "two parts", "mistral", "reasoning", "plain", "with its notes", "nothing to read", "none"],
)
def test_read_reply_joins_the_parts_of_a_content(content: Any, text: str) -> None:
    assert read(completion(content))[0].text == text


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_read_reply_puts_a_completion_together_again(field: str) -> None:
    reply, odd = read(completion(ANSWER, **{field: f"\n{TRACE}\n"}), is_completion=True)
    assert reply.text == WHOLE
    assert "put together" in odd["reasoning"]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (completion([{"type": "thinking", "thinking": TRACE}, {"type": "text", "text": ANSWER}]), WHOLE),
        (stream(delta(reasoning_content=TRACE), delta(content=ANSWER), delta("stop")), WHOLE),
        (completion(WHOLE, reasoning_content=TRACE), WHOLE),
        (completion("", reasoning_content=TRACE, finish_reason="length"), f"<think>\n{TRACE}"),
        (completion(None, reasoning_content=WHOLE), WHOLE),
        (completion(ANSWER, reasoning_details=[{"type": "reasoning.text", "text": TRACE}]), WHOLE),
        (completion(ANSWER, reasoning={"content": TRACE}), WHOLE),
        (completion(WHOLE), WHOLE),
        (completion(ANSWER), ANSWER),
    ],
    ids=[
        "parts",
        "streamed",
        "in both places",
        "cut off",
        "all of it as reasoning",
        "details",
        "an object",
        "inline",
        "no trace at all",
    ],
)
def test_read_reply_gives_a_completion_as_the_student_wrote_it(answer: Answer, text: str) -> None:
    assert read(answer, is_completion=True)[0].text == text


def test_read_reply_says_of_a_trace_that_is_kept_back_that_it_is() -> None:
    details = {"prompt_tokens": 7, "completion_tokens": 90, "completion_tokens_details": {"reasoning_tokens": 80}}
    reply, odd = read(completion(ANSWER, usage=details), is_completion=True)
    assert reply.finish_reason == HIDDEN_REASONING
    assert "keeps the reasoning to itself" in odd["hidden"]
    assert read(completion(WHOLE, usage=details), is_completion=True)[0].finish_reason == "stop"
    assert read(completion(ANSWER, usage=details))[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("body", "told", "status"),
    [
        ('{"choices": null, "error": {"message": "Provider error", "code": 429}}', "Provider error", 429),
        ('{"error": {"message": "no credit", "code": 402}}', "no credit", 402),
        ('{"error": "overloaded"}', "overloaded", None),
        ('{"error": {"code": "rate_limit", "message": "slow down"}}', "slow down", None),
        ('data: {"error": {"code": 502, "message": "gone"}}\n\n', "gone", 502),
        ("[" * 100_000, "not a chat completion", None),
        ('{"choices": [7]}', "not a chat completion", None),
        ('{"choices": [{"message": null}]}', "not a chat completion", None),
        ('{"choices": [{"message": {"content": 7}, "finish_reason": "stop"}]}', "neither text nor parts", None),
        (completion("half \ud83d").content, "not Unicode", None),
        (completion(finish_reason="abort").content, "broke the reply off", None),
    ],
)
def test_read_reply_names_what_is_no_reply(body: str, told: str, status: int | None) -> None:
    with pytest.raises(NoReplyError, match=told) as caught:
        read(Answer(200, body))
    assert caught.value.status == status
    assert len(str(caught.value)) < 300


def test_read_reply_does_without_a_signature() -> None:
    body = json.loads(completion().content)
    del body["model"]
    reply, odd = read(Answer(200, json.dumps(body)))
    assert (reply.model, reply.endpoint, odd) == (None, "teacher", {})


@pytest.mark.parametrize(
    ("signed", "is_odd"),
    [("qwen-1.5b", False), ("models/Qwen-1.5B", False), ("qwen-1.5b-2026-11-01", False), ("gemma-3", True), (7, False)],
)
def test_read_reply_notes_another_model(signed: object, is_odd: bool) -> None:
    body = json.dumps({**json.loads(completion().content), "model": signed})
    request = TeacherRequest("mbt_s", "q0", ({"role": "user", "content": "Why?"},), 3)
    _, odd = read_reply("k", request, body, Teacher(base_url="http://x/v1", model="qwen-1.5b"))
    told = "it answers as 'gemma-3', not as 'qwen-1.5b' that teacher asks for"
    assert odd == ({"model": told} if is_odd else {})


def test_read_reply_notes_a_prompt_that_was_cut() -> None:
    prompt = "word " * 400
    assert "64 tokens in a prompt of about 508" in read(completion(usage=(64, 3)), prompt=prompt)[1]["cut"]
    assert read(completion(usage=(400, 3)), prompt=prompt)[1] == {}
    assert read(completion(usage=(2, 3)))[1] == {}


def test_complete_tells_what_is_odd_once(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    with teacher_server(completion(finish_reason=None)) as server:
        ask(server, n=5)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"teacher {server.url}: it does not say how replies end: one below max_completion_tokens")


def test_complete_takes_an_error_in_a_good_status_for_what_it_says(ask: Ask) -> None:
    with (
        teacher_server(Answer(200, '{"error": {"message": "no credit", "code": 402}}')) as server,
        pytest.raises(TeacherError, match=r"402 after 1 attempt \(got .*no credit.*\); top up the account"),
    ):
        ask(server, n=3, concurrency=1)
    assert len(server.bodies) == 1
    busy = Answer(200, '{"choices": null, "error": {"message": "busy", "code": 429}}')
    with teacher_server(busy, busy, completion()) as server:
        assert ask(server)["q0"].finish_reason == "stop"
    assert len(server.bodies) == 3


def test_complete_survives_one_odd_reply(ask: Ask, journaled: Callable[[], list[str]]) -> None:
    def answer(number: int, body: Body) -> Answer:
        return completion("half \ud83d") if body["seed"] == 1 else completion()

    with (
        teacher_server(answer) as server,
        pytest.raises(TeacherError, match=r"1 of 4 requests .*q1: reply is not Unicode text"),
    ):
        ask(server, n=4, attempts=2)
    assert sorted(journaled()) == ["q0", "q2", "q3"]


@pytest.mark.parametrize(
    "said",
    [
        "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        'AnthropicException - {"message":"temperature and top_p cannot both be specified for this model."}',
    ],
)
def test_complete_leaves_out_one_of_two_that_are_refused_together(ask: Ask, said: str) -> None:
    def answer(number: int, body: Body) -> Answer:
        return refusal(400, said) if {"temperature", "top_p"} <= body.keys() else completion()

    with teacher_server(answer) as server:
        assert {reply.finish_reason for reply in ask(server, n=8, concurrency=4).values()} == {"stop"}
    # the second of two refusals that were under way together teaches nothing more
    assert all("temperature" in body for body in server.bodies)
    assert sum("top_p" not in body for body in server.bodies) == 8


def test_complete_sends_no_nucleus_where_the_recipe_has_none(ask: Ask) -> None:
    with teacher_server(completion()) as server:
        ask(server, top_p=None)
    assert "top_p" not in server.bodies[0]
