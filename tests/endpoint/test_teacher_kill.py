"""A real process is killed while it asks; the next one goes on, and the server's own log says what was sent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from teacher_server import Answer, Body, completion, teacher_server

from mbt_lite.files import read_jsonl

ROOT = Path(__file__).parents[2]
REQUESTS, CONCURRENCY = 60, 4
ASK = f"""
import sys
from pathlib import Path
from mbt_lite.recipe.schema import Teacher
from mbt_lite.endpoint.client import complete
from mbt_lite.endpoint.replies import ReplyJournal, TeacherRequest

requests = [
    TeacherRequest("mbt_s", f"q{{n}}", ({{"role": "user", "content": f"q {{n}}"}},), n) for n in range({REQUESTS})
]
settings = Teacher(base_url=sys.argv[1], model="m", concurrency={CONCURRENCY}, attempts=1)
with ReplyJournal(Path(sys.argv[2])) as journal:
    print(len(complete(requests, settings, sys.argv[1], journal)))
"""


@pytest.mark.parametrize("kill_at", [9, 34])
def test_complete_killed_and_started_again_sends_no_journaled_request_twice(tmp_path: Path, kill_at: int) -> None:
    path = tmp_path / "replies.jsonl"

    def answer(number: int, body: Body) -> Answer:
        time.sleep(0.03)
        return completion(str(body["seed"]))

    with teacher_server(answer) as server:
        command = [sys.executable, "-c", ASK, server.url, str(path)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while len(server.bodies) < kill_at:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        journaled = {int(row["text"]) for row in read_jsonl(path)}
        # requests that were on the wire at the kill may still arrive
        time.sleep(0.2)
        before = server.count_seeds()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        in_all = server.count_seeds()
    assert done.stdout.strip() == str(REQUESTS)
    assert kill_at - CONCURRENCY <= len(journaled) < REQUESTS
    assert {seed: in_all[seed] for seed in journaled} == dict.fromkeys(journaled, 1)
    # only what was under way at the kill is sent a second time
    twice = {seed for seed, count in in_all.items() if count > 1}
    assert twice == before.keys() - journaled
    assert len(twice) <= CONCURRENCY
    assert max(in_all.values()) <= 2
    assert sorted(int(row["text"]) for row in read_jsonl(path)) == list(range(REQUESTS))
