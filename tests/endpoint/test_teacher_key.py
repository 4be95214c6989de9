"""The key is nowhere: not in the run's files, not in what is printed or logged, however a session ends."""

import logging
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from teacher_server import KEY, RESET, Answer, Answers, completion, half, refusal, stream, teacher_server

from mbt_lite import cli
from mbt_lite.endpoint.replies import Reply, count_usage
from mbt_lite.files import write_json

Ask = Callable[..., dict[str, Reply]]
ENDINGS: dict[str, tuple[Answers, int | None]] = {
    "success": (completion(), None),
    "a reply that repeats it": (completion(f"You are {KEY}."), None),
    "a stream that repeats it": (
        stream({"choices": [{"delta": {"content": KEY}, "finish_reason": "stop"}]}),
        None,
    ),
    "refused": (refusal(400, f"bad key {KEY}"), None),
    "a parameter refused": (refusal(400, f"seed is not supported for {KEY}"), None),
    "401": (refusal(401, f"bad key {KEY}"), 2),
    "402": (refusal(402, f"bad key {KEY}"), 2),
    "403": (refusal(403, f"bad key {KEY}"), 2),
    "404": (refusal(404, f"no model for {KEY}"), 2),
    "429": (refusal(429, f"slow down, {KEY}"), 2),
    "429, long wait": (refusal(429, f"slow down, {KEY}", Retry_After="999"), 2),
    "500": (refusal(500, f"trouble with {KEY}"), 2),
    "reset": (RESET, 2),
    "half a reply": (half(completion()), 2),
    "not json": (Answer(200, f"hello {KEY}"), 2),
    "in a field": (Answer(200, f'{{"choices": [], "key": "{KEY}"}}'), 2),
}


@pytest.fixture
def told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Callable[[], dict[str, str]]:
    """Give all that was written, printed and logged, at the most talkative level."""
    caplog.set_level(logging.DEBUG)

    def read() -> dict[str, str]:
        captured = capfd.readouterr()
        files = {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
        return {**files, "stdout": captured.out, "stderr": captured.err, "log": caplog.text}

    return read


def end(run: Callable[[], object]) -> int | None:
    """Run as a command of the program; give its exit code, None if it went to its end."""
    try:
        with cli._exit_codes():
            run()
    except typer.Exit as ended:
        return ended.exit_code
    return None


@pytest.mark.parametrize("name", ENDINGS)
def test_complete_leaves_the_key_nowhere(
    ask: Ask, key: str, tmp_path: Path, told: Callable[[], dict[str, str]], name: str
) -> None:
    answer, code = ENDINGS[name]

    def run() -> None:
        replies = ask(server, n=3, concurrency=2, attempts=2, api_key_env=key)
        write_json(tmp_path / "usage.json", count_usage(replies.values()))

    with teacher_server(answer) as server:
        assert end(run) == code
    assert all(headers["Authorization"] == f"Bearer {KEY}" for headers in server.headers)
    found = told()
    assert found["stderr"] or code is None
    assert not [place for place, text in found.items() if KEY in text or KEY[3:] in text]


def test_complete_where_nothing_listens_leaves_the_key_nowhere(
    ask: Ask, key: str, told: Callable[[], dict[str, str]]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    assert end(lambda: ask(f"http://127.0.0.1:{port}/v1", attempts=1, api_key_env=key)) == 2
    assert not [place for place, text in told().items() if KEY[3:] in text]


@pytest.mark.parametrize(
    ("error", "code"), [(ValueError("ours"), 1), (KeyboardInterrupt(), 130)], ids=["bug", "Ctrl-C"]
)
def test_complete_ending_in_our_own_error_leaves_the_key_nowhere(
    ask: Ask, key: str, told: Callable[[], dict[str, str]], error: BaseException, code: int
) -> None:
    def fail(reply: Reply) -> None:
        raise error

    with teacher_server(completion()) as server:
        assert end(lambda: ask(server, n=2, on_reply=fail, api_key_env=key)) == code
    found = told()
    assert ("Traceback" in found["stderr"]) == (code == 1)
    assert not [place for place, text in found.items() if KEY[3:] in text]
