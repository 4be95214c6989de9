"""Ctrl-C and SIGTERM at a real process: what is under way is kept, nothing new is sent, the exit code is 130."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from teacher_server import Answer, Body, TeacherServer, completion, teacher_server

from mbt_lite.endpoint.replies import Reply
from mbt_lite.files import read_jsonl

ROOT = Path(__file__).parents[2]
REQUESTS, CONCURRENCY = 60, 4
# a command of the real program, which needs no model
PROGRAM = f"""
import sys
from pathlib import Path
from mbt_lite import cli
from mbt_lite.recipe.schema import Teacher
from mbt_lite.endpoint.client import complete
from mbt_lite.endpoint.replies import ReplyJournal, TeacherRequest

url, path = sys.argv[1:3]
sys.argv[1:] = ["ask"]

@cli.app.command()
@cli._exit_codes()
def ask():
    chats = [({{"role": "user", "content": f"? {{n}}"}},) for n in range({REQUESTS})]
    requests = [TeacherRequest("mbt_s", f"q{{n}}", chat, n) for n, chat in enumerate(chats)]
    settings = Teacher(base_url=url, model="m", concurrency={CONCURRENCY}, timeout_seconds=20.0)
    with ReplyJournal(Path(path)) as journal:
        complete(requests, settings, url, journal)

cli.main()
"""


@contextlib.contextmanager
def asking(server: TeacherServer, path: Path, *, until: int) -> Iterator[subprocess.Popen[str]]:
    """Run the program; go on once the server has got `until` requests."""
    command = [sys.executable, "-c", PROGRAM, server.url, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 30
            while len(server.bodies) < until:
                assert process.poll() is None, process.stderr.read() if process.stderr else ""
                assert time.monotonic() < deadline
                time.sleep(0.005)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_complete_interrupted_finishes_and_keeps_what_is_under_way(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "replies.jsonl"

    def answer(number: int, body: Body) -> Answer:
        time.sleep(0.5)
        return completion(str(body["seed"]))

    with teacher_server(answer) as server, asking(server, path, until=7) as process:
        time.sleep(0.1)
        os.kill(process.pid, number)
        _, told = process.communicate(timeout=20)
        sent = sorted(server.count_seeds().elements())
    assert process.returncode == 130
    assert len(sent) <= 7 + CONCURRENCY
    assert sorted(int(row["text"]) for row in read_jsonl(path)) == sent
    assert "requests under way are finished and kept" in told
    assert "interrupted; everything finished so far is kept" in told
    assert "Traceback" not in told


def test_complete_interrupted_twice_stops_at_once(tmp_path: Path) -> None:
    path, release = tmp_path / "replies.jsonl", threading.Event()

    def answer(number: int, body: Body) -> Answer:
        if number > 6:
            release.wait(15)
        return completion(str(body["seed"]))

    with teacher_server(answer) as server:
        try:
            with asking(server, path, until=10) as process:
                time.sleep(0.2)
                started = time.monotonic()
                os.kill(process.pid, signal.SIGINT)
                time.sleep(0.3)
                assert process.poll() is None
                os.kill(process.pid, signal.SIGINT)
                _, told = process.communicate(timeout=10)
                assert time.monotonic() - started < 5
        finally:
            release.set()
    assert process.returncode == 130
    assert len(read_jsonl(path)) == 6
    assert "Traceback" not in told


def test_complete_gives_the_signals_back(ask: Callable[..., dict[str, Reply]]) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with teacher_server(completion()) as server:
        ask(server)
    assert [signal.getsignal(number) for number in numbers] == before


def test_complete_works_outside_of_the_main_thread(ask: Callable[..., dict[str, Reply]]) -> None:
    replies: list[dict[str, Reply]] = []
    with teacher_server(completion()) as server:
        thread = threading.Thread(target=lambda: replies.append(ask(server)))
        thread.start()
        thread.join()
    assert replies[0]["q0"].finish_reason == "stop"
