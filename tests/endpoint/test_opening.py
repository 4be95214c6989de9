"""Endpoints of one stage: own budgets and prices in one journal, what was learnt is remembered, schemas are probed."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from teacher_server import Answer, Body, TeacherServer, completion, refusal, teacher_server

from mbt_lite.endpoint.opening import open_endpoints
from mbt_lite.endpoint.replies import Reply, TeacherRequest, request_key
from mbt_lite.endpoint.served_student import (
    answering_student,
    drafting_student,
    read_completions,
    with_think_tag,
)
from mbt_lite.errors import TeacherError
from mbt_lite.files import read_json, read_jsonl, write_jsonl
from mbt_lite.recipe.endpoint import Endpoint, Speaker
from mbt_lite.recipe.schema import Eval, EvalStudent, Gen, GenStudent, Judge, StudentModels, Teacher, Variant

PRICES = {"price_per_million_prompt_tokens": 1e6, "price_per_million_completion_tokens": 0.0}
SCHEMA = {"type": "object", "properties": {"hit": {"type": "boolean"}}, "required": ["hit"]}


@contextlib.contextmanager
def silent(what: str, total: int) -> Iterator[Callable[[], None]]:
    yield lambda: None


def requests(n: int = 1, schema: Any = None, kind: str = "mbt_s") -> list[TeacherRequest]:
    return [TeacherRequest(kind, f"q{i}", ({"role": "user", "content": f"? {i}"},), i, schema) for i in range(n)]


def asking(folder: Path, *endpoints: Endpoint) -> Any:
    return open_endpoints(folder, silent, *endpoints)


def drafter(server: TeacherServer, **changes: Any) -> Gen:
    return Gen(student=GenStudent(base_url=server.url, model="m", attempts=1, **changes))


def test_every_endpoint_has_its_own_budget_and_prices(tmp_path: Path) -> None:
    with teacher_server(completion()) as server:
        teacher = Teacher(base_url=server.url, model="t", budget_usd=100.0, **PRICES)
        gen = drafter(server, budget_tokens=2090)
        with asking(tmp_path, teacher, gen.student) as ask:
            assert len(ask(requests(3), "traces", teacher)) == 3
            # two replies of ten tokens, and room for one more at its most
            with pytest.raises(TeacherError, match=r"^gen\.student http.*; raise gen\.student\.budget_tokens and run"):
                ask(requests(9, kind="draft"), "drafts", drafting_student(gen))
    usage = read_json(tmp_path / "usage.json")
    # seven prompt tokens a reply, at a dollar each
    assert usage["mbt_s"]["usd"] == 21.0
    assert "usd" not in usage["draft"]
    assert {row["endpoint"] for row in read_jsonl(tmp_path / "replies.jsonl")} == {"teacher", "gen.student"}


def test_replies_of_a_journal_that_does_not_tell_who_was_asked_are_found_and_count(tmp_path: Path) -> None:
    student = drafting_student(Gen(student=GenStudent(base_url="http://127.0.0.1:9/v1", model="m")))
    [request] = requests()
    # as they were written before endpoints signed their replies
    old = Reply(request_key(student, request), "draft", "q0", "Text.", "stop", "m", 7, 3)
    row = dataclasses.asdict(old)
    del row["endpoint"]
    write_jsonl(tmp_path / "replies.jsonl", [row])
    teacher = Teacher(**PRICES)
    with asking(tmp_path, teacher, student) as ask:
        assert ask([request], "drafts", student) == {"q0": old}
    assert read_json(tmp_path / "usage.json")["draft"]["usd"] == 7.0


def test_the_key_of_a_served_student_is_what_it_was() -> None:
    student = drafting_student(Gen(student=GenStudent(base_url="http://x/v1", model="m"), max_completion_tokens=77))
    body = {"model": "m", "messages": [{"role": "user", "content": "? 0"}], "temperature": 0.6, "top_p": 0.95}
    canonical = json.dumps({**body, "max_tokens": 77, "seed": 0}, sort_keys=True, separators=(",", ":"))
    assert request_key(student, requests()[0]) == hashlib.sha256(canonical.encode()).hexdigest()
    assert request_key(student, requests(schema=SCHEMA)[0]) == request_key(student, requests()[0])


SERVED: dict[str, Callable[..., Speaker]] = {
    "teacher": lambda **settings: Teacher(model="m", **settings),
    "judge": lambda **settings: Judge(model="m", **settings),
    "gen.student": lambda **settings: drafting_student(Gen(student=GenStudent(model="m", **settings))),
    "eval.student": lambda **settings: answering_student(
        Eval(student=EvalStudent(models=StudentModels(sft="m"), **settings)), Variant(name="sft", adapter="sft")
    ),
}


@pytest.mark.parametrize("key", SERVED)
def test_errors_name_the_keys_of_the_endpoint_that_was_asked(
    key: str, tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_key = "eval.student.models.sft" if key == "eval.student" else f"{key}.model"

    def told(**settings: Any) -> str:
        speaker = SERVED[key](attempts=1, **settings)
        with asking(tmp_path, speaker) as ask, pytest.raises(TeacherError) as caught:
            ask(requests(), "traces", speaker)
        assert str(caught.value).startswith(f"{key} ")
        return str(caught.value)

    nowhere = f"http://127.0.0.1:{free_port}/v1"
    assert told(base_url=nowhere).endswith(f"start the server or set {key}.base_url")
    assert f"set {key}.base_url to one such as" in told(base_url="ftp://x/v1")
    with teacher_server(refusal(404), refusal(401), completion()) as server:
        assert told(base_url=server.url).endswith(f"check {key}.base_url and {model_key} (m)")
        assert told(base_url=server.url).endswith(f"name the key's variable in {key}.api_key_env")
        assert f"; raise {key}.budget_tokens and run" in told(base_url=server.url, budget_tokens=5)
    monkeypatch.delenv("TEST_TEACHER_KEY", raising=False)
    assert "set the environment variable TEST_TEACHER_KEY" in told(base_url=nowhere, api_key_env="TEST_TEACHER_KEY")


def test_a_student_is_asked_at_several_servers(tmp_path: Path) -> None:
    with teacher_server(completion()) as one, teacher_server(completion()) as other:
        gen = Gen(student=GenStudent(base_url=[one.url, other.url], model="m", concurrency=2))  # type: ignore[arg-type]
        with asking(tmp_path, gen.student) as ask:
            ask(requests(20), "drafts", drafting_student(gen))
        assert min(len(one.bodies), len(other.bodies)) > 0


def test_what_was_learnt_of_a_server_is_remembered_while_it_is_open(tmp_path: Path) -> None:
    def answer(number: int, body: Body) -> Answer:
        return refusal(400, "Unsupported parameter: 'seed'") if "seed" in body else completion()

    with teacher_server(answer) as server:
        teacher = Teacher(base_url=server.url, model="m")
        with asking(tmp_path, teacher) as ask:
            ask(requests(1), "traces", teacher)
            ask(requests(3), "traces, attempt 2", teacher)
        assert sum("seed" in body for body in server.bodies) == 1


def test_completions_of_a_server_that_splits_reasoning_off_have_their_trace(tmp_path: Path) -> None:
    with teacher_server(completion("<answer>Rome</answer>", reasoning_content="It is Rome.")) as server:
        student = SERVED["eval.student"](base_url=server.url)
        asked = {("q", 0): TeacherRequest("answer", "q:0", ({"role": "user", "content": "?"},), 0, is_completion=True)}
        with asking(tmp_path, student) as ask:
            replies = ask(list(asked.values()), "answers", student)
    plain, prefilled = (
        read_completions(asked, replies, len, len, prefilled_think=prefilled)[0]["q", 0].text
        for prefilled in (False, True)
    )
    assert plain == "<think>\nIt is Rome.\n</think>\n\n<answer>Rome</answer>"
    assert prefilled == plain.removeprefix("<think>")


@pytest.mark.parametrize("text", ["no tags", "<think>a</think>b", "<think>a", "<answer>b</answer>"])
def test_with_think_tag_leaves_what_is_as_it_is_made_here(text: str) -> None:
    assert with_think_tag(text, prefilled_think=False) == text
    assert with_think_tag(text.removeprefix("<think>"), prefilled_think=True) == text.removeprefix("<think>")


# Servers and JSON schemas


def keeps(number: int, body: Body) -> Answer:
    """Keep to a schema where there is one."""
    if "response_format" not in body:
        return completion("hello")
    properties = body["response_format"]["json_schema"]["schema"]["properties"]
    return completion(json.dumps(dict.fromkeys(properties, True)))


def ignores(number: int, body: Body) -> Answer:
    return completion("hello")


def refuses(number: int, body: Body) -> Answer:
    return refusal(400, "response_format is not supported") if "response_format" in body else completion("hello")


def crashes(number: int, body: Body) -> Answer:
    return refusal(500, "grammar") if "response_format" in body else completion("hello")


def refuses_odd_ones(status: int) -> Callable[[int, Body], Answer]:
    """Take the schema of the probe, but not that of a verdict."""

    def answer(number: int, body: Body) -> Answer:
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
        return refusal(status, "response_format: unsupported field") if "hit" in str(schema) else keeps(number, body)

    return answer


@pytest.mark.parametrize(
    ("answer", "text", "with_schema", "sent"),
    [(keeps, '{"hit": true}', 4, 4), (ignores, "hello", 1, 4), (refuses, "hello", 1, 4), (crashes, "hello", 1, 4)],
    ids=["keeps to it", "ignores it", "refuses it", "crashes on it"],
)
def test_a_schema_is_sent_where_a_probe_finds_that_it_is_kept(
    answer: Any, text: str, with_schema: int, sent: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with teacher_server(answer) as server:
        judge = Judge(base_url=server.url, model="m", concurrency=3)
        with asking(tmp_path, judge) as ask:
            replies = ask(requests(2, SCHEMA), "verdicts", judge)
            replies |= {"again": ask(requests(3, SCHEMA)[2:], "verdicts, attempt 2", judge)["q2"]}
        assert {reply.text for reply in replies.values()} == {text}
        assert len(server.bodies) == sent
        assert sum("response_format" in body for body in server.bodies) == with_schema
    said = capsys.readouterr().err.splitlines()
    how = "with their JSON schema" if answer is keeps else "by the prompt alone"
    assert [how in line for line in said] == [True]


@pytest.mark.parametrize("status", [400, 422, 500, 501])
def test_a_schema_that_is_refused_after_all_is_left_out(tmp_path: Path, status: int) -> None:
    with teacher_server(refuses_odd_ones(status)) as server:
        judge = Judge(base_url=server.url, model="m", concurrency=1)
        with asking(tmp_path, judge) as ask:
            assert {reply.text for reply in ask(requests(3, SCHEMA), "verdicts", judge).values()} == {"hello"}
        # the probe, one refusal, three verdicts
        assert len(server.bodies) == 5


def test_a_probe_is_cheap_is_paid_for_and_is_made_for_every_model(tmp_path: Path) -> None:
    with teacher_server(keeps) as server:
        judges = [Judge(base_url=server.url, model=name, **PRICES) for name in ("small", "large")]
        with asking(tmp_path, judges[0]) as ask:
            for judge in judges:
                ask(requests(2, SCHEMA), "verdicts", judge)
        probes = [body for body in server.bodies if "agreed" in str(body.get("response_format"))]
    assert [body["model"] for body in probes] == ["small", "large"]
    assert {body["max_tokens"] for body in probes} == {256}
    assert read_json(tmp_path / "usage.json")["probe"] == {
        "requests": 2, "prompt_tokens": 14, "completion_tokens": 6, "uncounted": 0, "usd": 14.0,
    }  # fmt: skip


def test_a_probe_stays_within_the_budget(tmp_path: Path) -> None:
    with teacher_server(keeps) as server:
        judge = Judge(base_url=server.url, model="m", budget_tokens=20)
        with asking(tmp_path, judge) as ask, pytest.raises(TeacherError, match=r"raise judge\.budget_tokens"):
            ask(requests(2, SCHEMA), "verdicts", judge)
        assert server.bodies == []


def test_a_server_that_is_not_there_is_told_as_without_a_schema(tmp_path: Path, free_port: int) -> None:
    judge = Judge(base_url=f"http://127.0.0.1:{free_port}/v1", model="m", attempts=2)
    with asking(tmp_path, judge) as ask, pytest.raises(TeacherError, match="cannot connect after 2 attempts"):
        ask(requests(2, SCHEMA), "verdicts", judge)
