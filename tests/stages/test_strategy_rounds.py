"""A strategy of two rounds through eval: killed in and between its rounds, it ends as if it had never stopped."""

import signal
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
import forked
import two_rounds
from llama_server import LlamaServer
from teacher_server import Answer, Body, completion, teacher_server
from two_rounds import reply

from mbt_lite.files import read_json, read_jsonl
from mbt_lite.records import CallCompletion, from_row

MADE = ("completions.jsonl", "predictions.jsonl", "metrics.json")


def start(folder: Path, where: str, kill_at: int = 0, samples: int = 1) -> forked.Running:
    folder.mkdir(exist_ok=True)
    return forked.start(two_rounds.run, folder, samples, where, kill_at)


def finish(running: forked.Running) -> int:
    """Wait for the end; give how many completions this process made."""
    code, said = running.finish(120)
    assert code == 0, said
    return int(said.split()[-1])


def killed_at_last(running: forked.Running) -> bool:
    return running.finish(120)[0] == -signal.SIGKILL


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "run/eval/base" / name).read_bytes() for name in MADE}


# six questions: with one sample the second round begins with completion 7, with two with 13
@pytest.mark.parametrize(("samples", "kill_at"), [(1, 7), (1, 9), (2, 16)], ids=["between", "within", "two samples"])
def test_rounds_here_survive_a_kill(tmp_path: Path, samples: int, kill_at: int) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert finish(start(whole, "here", samples=samples)) == 12 * samples
    assert killed_at_last(start(killed, "here", kill_at, samples))
    calls = killed / "run/eval/base/calls.jsonl"
    assert len(read_jsonl(calls)) == kill_at - 1
    again = finish(start(killed, "here", samples=samples))
    # of a prompt whose samples are not all there all are drawn again, none is kept twice
    assert 12 * samples - (kill_at - 1) <= again < 12 * samples - (kill_at - 1) + samples
    assert calls.read_bytes() == (whole / "run/eval/base/calls.jsonl").read_bytes()
    assert files(killed) == files(whole)
    rows = [from_row(CallCompletion, row, "calls") for row in read_jsonl(calls)]
    assert Counter(row.round for row in rows) == {0: 6 * samples, 1: 6 * samples}
    first = read_jsonl(whole / "run/eval/base/completions.jsonl")[0]
    assert first["text"].startswith("<think>We look for 0?")
    its = [row for row in rows if (row.question_id, row.rollout_index) == ("q0", 0)]
    assert first["completion_tokens"] == sum(row.completion_tokens for row in its)
    assert read_json(whole / "run/eval/base/metrics.json")["metrics"]["exact_match"]["mean"] == 1.0


def test_rounds_at_an_endpoint_survive_a_kill(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    dying: list[forked.Running] = []

    def answer(number: int, body: Body) -> Answer:
        content = body["messages"][-1]["content"]
        if dying and not content.startswith("Plan: "):
            dying.pop().process.kill()
        return completion(reply(content))

    with teacher_server(answer) as server:
        finish(start(whole, server.url))
        assert len(server.bodies) == 12
        server.bodies.clear()
        running = start(killed, server.url)
        dying.append(running)
        assert killed_at_last(running)
        finish(start(killed, server.url))
        asked = Counter(body["messages"][-1]["content"] for body in server.bodies)
    plans = [content for content in asked if content.startswith("Plan: ")]
    assert len(plans) == 6
    # no plan that was paid for is asked for again; of the answers only those under way at the kill
    assert all(asked[plan] == 1 for plan in plans)
    assert 12 < sum(asked.values()) <= 14
    assert files(killed) == files(whole)
    assert not (killed / "run/eval/base/calls.jsonl").exists()
    labels = [row["label"] for row in read_jsonl(whole / "run/eval/replies.jsonl")]
    assert sorted(labels)[:2] == ["q0:0", "q0:0:1:0:0"]


def test_rounds_at_a_real_server_tell_the_second_what_the_first_said(llama: LlamaServer, tmp_path: Path) -> None:
    finish(start(tmp_path / "run", llama.url))
    replies = read_jsonl(tmp_path / "run/run/eval/replies.jsonl")
    assert Counter(row["label"].count(":") for row in replies) == {1: 6, 4: 6}
    assert all(row["completion_tokens"] <= (16 if row["label"].count(":") == 1 else 24) for row in replies)
    rows = read_jsonl(tmp_path / "run/run/eval/base/predictions.jsonl")
    answers = {row["label"].partition(":")[0]: row["text"] for row in replies if row["label"].count(":") == 4}
    assert {row["question_id"]: row["text"] for row in rows} == answers
