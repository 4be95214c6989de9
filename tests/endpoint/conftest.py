"""Fixtures of the teacher's tests: ask a server, read what is journaled, hold a key."""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from teacher_server import KEY, TeacherServer

from mbt_lite.endpoint.client import complete
from mbt_lite.endpoint.replies import Reply, ReplyJournal, TeacherRequest
from mbt_lite.files import read_jsonl
from mbt_lite.recipe.schema import Teacher

Ask = Callable[..., dict[str, Reply]]


@pytest.fixture
def free_port() -> int:
    """Give a port on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Ask a server n requests, told apart by their seeds; replies are journaled in one file."""

    def run(
        server: TeacherServer | str | Sequence[TeacherServer | str],
        n: int = 1,
        on_reply: Callable[[Reply], None] = lambda reply: None,
        **changes: Any,
    ) -> dict[str, Reply]:
        if isinstance(server, Sequence) and not isinstance(server, str):
            url: str | tuple[str, ...] = tuple(one if isinstance(one, str) else one.url for one in server)
        else:
            url = server if isinstance(server, str) else server.url
        settings = Teacher(**{"base_url": url, "model": "m", "attempts": 3, "timeout_seconds": 10.0, **changes})
        requests = [TeacherRequest("mbt_s", f"q{i}", ({"role": "user", "content": f"? {i}"},), i) for i in range(n)]
        with ReplyJournal(tmp_path / "replies.jsonl") as journal:
            return complete(requests, settings, url, journal, on_reply=on_reply, backoff_seconds=0.01)

    return run


@pytest.fixture
def journaled(tmp_path: Path) -> Callable[[], list[str]]:
    """Give the labels of the replies on disk, in their order."""
    return lambda: [row["label"] for row in read_jsonl(tmp_path / "replies.jsonl")]


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """Set a key in the environment; give the name of its variable."""
    monkeypatch.setenv("TEST_TEACHER_KEY", KEY)
    return "TEST_TEACHER_KEY"
