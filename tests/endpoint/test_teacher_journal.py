"""What the client keeps: a reply is on disk before it is told, and what is on disk is not asked again."""

from collections.abc import Callable
from pathlib import Path

import pytest
from teacher_server import completion, teacher_server

from mbt_lite.endpoint.client import complete
from mbt_lite.endpoint.replies import Reply, ReplyJournal, TeacherRequest
from mbt_lite.files import read_jsonl
from mbt_lite.recipe.schema import Teacher

Ask = Callable[..., dict[str, Reply]]


def test_complete_journals_a_reply_before_it_reports_it(ask: Ask, journaled: Callable[[], list[str]]) -> None:
    seen: list[bool] = []
    with teacher_server(completion()) as server:
        ask(server, n=4, on_reply=lambda reply: seen.append(reply.label in journaled()))
    assert seen == [True] * 4


def test_complete_again_sends_only_what_is_missing(ask: Ask) -> None:
    with teacher_server(completion()) as server:
        first = ask(server, n=3)
        assert ask(server, n=3) == first
        again = ask(server, n=5)
    assert server.count_seeds() == dict.fromkeys(range(5), 1)
    assert {label: again[label] for label in first} == first
    assert list(again) == [f"q{number}" for number in range(5)]


def test_complete_with_every_reply_on_disk_needs_no_server(ask: Ask, free_port: int) -> None:
    with teacher_server(completion()) as server:
        first = ask(server, n=3)
    assert ask(f"http://127.0.0.1:{free_port}/v1", n=3) == first


def test_complete_sends_equal_requests_once_and_answers_each_label(tmp_path: Path) -> None:
    requests = [
        TeacherRequest("mbt_r", label, ({"role": "user", "content": "same"},), seed=0) for label in ("a", "b", "c")
    ]
    reported: list[Reply] = []
    with teacher_server(completion()) as server, ReplyJournal(tmp_path / "replies.jsonl") as journal:
        replies = complete(requests, Teacher(model="m"), server.url, journal, on_reply=reported.append)
    assert len(server.bodies) == 1
    assert replies == dict.fromkeys(("a", "b", "c"), reported[0])
    assert [row["label"] for row in read_jsonl(tmp_path / "replies.jsonl")] == ["a"]


def test_complete_refuses_labels_that_stand_twice(tmp_path: Path) -> None:
    twice = [TeacherRequest("mbt_r", "a", ({"role": "user", "content": text},), seed=0) for text in ("x", "y")]
    with ReplyJournal(tmp_path / "replies.jsonl") as journal, pytest.raises(AssertionError, match="labels"):
        complete(twice, Teacher(model="m"), "http://127.0.0.1:9/v1", journal)


def test_complete_interrupted_keeps_what_came(ask: Ask, journaled: Callable[[], list[str]]) -> None:
    def interrupt(reply: Reply) -> None:
        raise KeyboardInterrupt

    with teacher_server(completion()) as server, pytest.raises(KeyboardInterrupt):
        ask(server, n=50, on_reply=interrupt, concurrency=1)
    # the next ones were sent while the first was synced
    assert "q0" in journaled()
    assert len(journaled()) == len(server.bodies) < 50
