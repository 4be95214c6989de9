"""A server of which every fifth reply fails, and a client that is killed twenty times: each reply is kept once."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from teacher_server import RESET, Answer, Body, completion, half, refusal, teacher_server

from mbt_lite.files import read_jsonl

ROOT = Path(__file__).parents[2]
REQUESTS, CONCURRENCY, KILLS = 600, 8, 20
FAULTS = ("429", "500", "reset", "stall", "half json", "truncated")
# imports once, then asks in a fork per line of its input: a process to kill that starts in milliseconds
PROGRAM = f"""
import os, sys
from pathlib import Path
import openai
from mbt_lite.errors import TeacherError
from mbt_lite.recipe.schema import Teacher
from mbt_lite.endpoint.client import complete
from mbt_lite.endpoint.replies import ReplyJournal, TeacherRequest

url, path = sys.argv[1:3]
chats = [({{"role": "user", "content": f"? {{n}}"}},) for n in range({REQUESTS})]
requests = [TeacherRequest("mbt_s", f"q{{n}}", chat, n) for n, chat in enumerate(chats)]
settings = Teacher(base_url=url, model="m", concurrency={CONCURRENCY}, attempts=20, timeout_seconds=1.5)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        with ReplyJournal(Path(path)) as journal:
            complete(requests, settings, url, journal, backoff_seconds=0.01)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class FaultyTeacher:
    """Fails one attempt in five, chosen by the request and its attempt; counts what it answered."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.sent: Counter[int] = Counter()
        self.paid: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.over = threading.Event()

    def answer(self, number: int, body: Body) -> Answer:
        seed = body["seed"]
        with self.lock:
            self.sent[seed] += 1
            chance = random.Random(f"{seed}:{self.sent[seed]}")
            fault = chance.choice(FAULTS) if chance.random() < 0.2 else "none"
            self.faults[fault] += 1
        time.sleep(0.004)
        reply = completion(str(seed))
        match fault:
            case "429":
                return refusal(429)
            case "500":
                return refusal(500)
            case "reset":
                return RESET
            case "stall":
                self.over.wait(4)
                return RESET
            case "half json":
                return Answer(200, reply.content[:60])
            case "truncated":
                return half(reply)
        with self.lock:
            self.paid[seed] += 1
        return reply


def test_complete_killed_twenty_times_at_a_faulty_server_keeps_every_reply_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, chance, teacher = tmp_path / "replies.jsonl", random.Random(20), FaultyTeacher()
    lost: Counter[int] = Counter()
    settled: Counter[int] = Counter()
    command = [sys.executable, "-c", PROGRAM, "", str(path)]
    with teacher_server(teacher.answer) as server:
        command[3] = server.url
        program = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert program.stdin is not None
        assert program.stdout is not None
        with contextlib.ExitStack() as stack:
            stack.enter_context(program)
            # its end must not wait for another line if a check fails
            stack.callback(program.stdin.close)
            for kill in range(KILLS + 1):
                program.stdin.write("\n")
                program.stdin.flush()
                child = int(program.stdout.readline())
                if kill < KILLS:
                    target = len(server.bodies) + chance.randint(4, 40)
                    deadline = time.monotonic() + 60
                    while len(server.bodies) < target:
                        assert time.monotonic() < deadline
                        time.sleep(0.001)
                    time.sleep(chance.uniform(0, 0.01))
                    os.kill(child, signal.SIGKILL)
                assert int(program.stdout.readline()) == (signal.SIGKILL if kill < KILLS else 0)
                # what was on the wire at the kill still arrives
                time.sleep(0.1)
                journaled = {int(row["text"]) for row in read_jsonl(path)}
                with teacher.lock:
                    paid, sent = teacher.paid.copy(), teacher.sent.copy()
                # what was on disk at the last kill was not sent again
                assert {seed: sent[seed] for seed in settled} == settled
                settled = Counter({seed: sent[seed] for seed in journaled})
                new = paid - Counter(journaled) - lost
                assert len(new) == new.total() <= CONCURRENCY, "only what was under way may be paid again"
                assert kill < KILLS or not new
                lost += new
        teacher.over.set()
    rows = read_jsonl(path)
    assert sorted(int(row["text"]) for row in rows) == list(range(REQUESTS))
    assert len({row["key"] for row in rows}) == REQUESTS
    assert teacher.paid.total() == REQUESTS + lost.total()
    assert set(teacher.faults) == {"none", *FAULTS}
    told = (
        f"{REQUESTS} requests, {KILLS} kills: {len(rows)} replies journaled, {teacher.paid.total()} sent, "
        f"{lost.total()} of them lost in flight at a kill; attempts by fault: {dict(teacher.faults)}"
    )
    with capsys.disabled():
        print(f"\n{told}")
