"""Small real servers on loopback that misbehave in one way each, and count what they are sent."""

import contextlib
import dataclasses
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Body = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server sends; `breaks_off` resets the connection before it, or closes it after half of the content."""

    status: int
    content: str
    headers: tuple[tuple[str, str], ...] = ()
    breaks_off: Literal["no", "at once", "half way"] = "no"


Answers = Answer | Callable[[int, Body], Answer]

KEY = "sk-test-0123456789"
RESET = Answer(0, "", breaks_off="at once")


def completion(
    text: str | list[Body] | None = "We read. So the answer is Nora.",
    *,
    finish_reason: str | None = "stop",
    usage: tuple[int, int] | Body | None = (7, 3),
    model: str = "m",
    **beside: str,
) -> Answer:
    """Give a chat completion; `beside` are further fields of its message."""
    counted = {"prompt_tokens": usage[0], "completion_tokens": usage[1]} if isinstance(usage, tuple) else usage
    message = {"role": "assistant", "content": text, **beside}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    body = {"id": "c", "object": "chat.completion", "model": model, "choices": [choice], "usage": counted}
    return Answer(200, json.dumps(body))


def stream(*chunks: Body, done: bool = True) -> Answer:
    """Give chunks as server-sent events."""
    events = ["data: " + json.dumps({"id": "c", "model": "m", **chunk}) for chunk in chunks]
    text = "\n\n".join([": hello", *events, *(["data: [DONE]"] if done else []), ""])
    return Answer(200, text, (("Content-Type", "text/event-stream"),))


def delta(finish_reason: str | None = None, **said: str | None) -> Body:
    """Give a chunk of a streamed completion."""
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish_reason}]}


def half(answer: Answer) -> Answer:
    """Break an answer off in the middle of its content."""
    return dataclasses.replace(answer, breaks_off="half way")


def refusal(status: int, message: str = "no", **headers: str) -> Answer:
    """Give an error in the schema's words."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer(status, json.dumps({"error": {"message": message}}), named)


class TeacherServer(ThreadingHTTPServer):
    """Answers request n with `answer(n, body)`; keeps bodies, headers, and how many were under way at once."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer: Callable[[int, Body], Answer], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Endpoint)
        self.answer = answer
        self.lock = threading.Lock()
        self.bodies: list[Body] = []
        self.headers: list[Message] = []
        self.under_way = 0
        self.most_under_way = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def count_seeds(self) -> Counter[int]:
        """Count the requests by their seed, which tells them apart."""
        with self.lock:
            return Counter(body["seed"] for body in self.bodies)

    def take(self, body: Body, headers: Message) -> Answer:
        with self.lock:
            self.bodies.append(body)
            self.headers.append(headers)
            number = len(self.bodies)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return self.answer(number, body)
        finally:
            with self.lock:
                self.under_way -= 1


class Endpoint(BaseHTTPRequestHandler):
    server: TeacherServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 20

    def do_POST(self) -> None:
        answer = self.server.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))), self.headers)
        self.close_connection = answer.breaks_off != "no"
        if answer.breaks_off == "at once":
            # closing with pending data thrown away sends a reset
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        content = answer.content.encode()
        with contextlib.suppress(ConnectionError):
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **dict(answer.headers)}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if answer.breaks_off == "half way" else content)

    def handle(self) -> None:
        # a client that is killed resets its connections
        with contextlib.suppress(ConnectionError):
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@contextlib.contextmanager
def teacher_server(*answers: Answers) -> Iterator[TeacherServer]:
    """Serve the answers in turn, the last one for ever; an answer may be a function of (number, body)."""

    def answer(number: int, body: Body) -> Answer:
        chosen = answers[min(number, len(answers)) - 1]
        return chosen(number, body) if callable(chosen) else chosen

    server = TeacherServer(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
