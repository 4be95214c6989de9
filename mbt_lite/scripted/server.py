"""The embedded teacher's server: the scripted writer behind the OpenAI chat-completions schema, on a loopback port.

It lets the demo and the tests take the same road as a paid teacher: the real client, HTTP, the journal. Its replies are
signed `model: scripted`. What it leaves out of the schema: streaming, more than one choice, tools. Tokens in `usage`
are white-space words, an approximation for a writer that has no tokenizer.

    GET  /v1/models              the one model
    POST /v1/chat/completions    a reply to one of our teacher requests; anything else is a 4xx in the schema's words
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from mbt_lite.errors import MbtError, TeacherError
from mbt_lite.scripted.writer import UnreadableRequestError, write_reply

MODEL = "scripted"

Body = dict[str, Any]


@contextlib.contextmanager
def serve(host: str = "127.0.0.1", port: int = 0, on_request: Callable[[Body], None] | None = None) -> Iterator[str]:
    """Serve while the block runs; give the base URL (`http://127.0.0.1:<port>/v1`; port 0 takes a free one).

    `on_request` sees each chat body before it is answered, in the request's own thread.
    """
    server = _bind(host, port, on_request)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield _url(server)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def serve_forever(host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until interrupted; prints the base URL first."""
    with _bind(host, port, None) as server:
        print(f"scripted teacher at {_url(server)}, model {MODEL}; stop it with Ctrl-C", flush=True)
        server.serve_forever()


def _bind(host: str, port: int, on_request: Callable[[Body], None] | None) -> Server:
    try:
        return Server((host, port), on_request)
    except OSError as error:
        raise TeacherError(f"teacher {host}:{port}: cannot listen ({error.strerror}); choose another port") from error


def _url(server: Server) -> str:
    return f"http://{server.server_address[0]!s}:{server.server_address[1]}/v1"


class Server(ThreadingHTTPServer):
    """A threading server that takes a burst of connections and waits for none of them at its end."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, address: tuple[str, int], on_request: Callable[[Body], None] | None) -> None:
        self.on_request = on_request
        super().__init__(address, _Endpoint)


class _Endpoint(BaseHTTPRequestHandler):
    """One connection; kept open between requests, as the client's pool expects."""

    server: Server
    protocol_version = "HTTP/1.1"
    # headers and body leave in two writes: without this they wait for each other's acknowledgement
    disable_nagle_algorithm = True
    # an idle connection lets its thread end
    timeout = 60

    def do_GET(self) -> None:
        """Answer the list of models."""
        if self.path.rstrip("/") != "/v1/models":
            return self._refuse(404, f"no such path: {self.path}", "not_found")
        return self._send(200, {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "mbt-lite"}]})

    def do_POST(self) -> None:
        """Answer a chat completion."""
        length = self.headers["Content-Length"] or ""
        if not (length.isascii() and length.isdigit()):
            # what follows cannot be told from the next request
            self.close_connection = True
            return self._refuse(411, f"no length in bytes: {length!r}", "invalid_request_error")
        content = self.rfile.read(int(length))
        if self.path.rstrip("/") != "/v1/chat/completions":
            return self._refuse(404, f"no such path: {self.path}", "not_found")
        try:
            body = json.loads(content)
            model, seed = body["model"], body.get("seed", 0)
            messages = [(message["role"], message["content"]) for message in body["messages"]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return self._refuse(400, f"not a chat request: {error!r}", "invalid_request_error")
        if not all(isinstance(text, str) for _, text in messages):
            return self._refuse(400, "not a chat request: this teacher reads plain text only", "invalid_request_error")
        if model != MODEL:
            return self._refuse(404, f"no such model: {model}; this teacher has only {MODEL}", "model_not_found")
        if self.server.on_request is not None:
            self.server.on_request(body)
        try:
            text = write_reply([text for role, text in messages if role == "user"], seed)
        except UnreadableRequestError as error:
            return self._refuse(400, f"not a request of mbt-lite: {error}", "invalid_request_error")
        except MbtError as error:
            return self._refuse(501, str(error), "not_implemented")
        return self._send(200, _completion(content, text, sum(len(text.split()) for _, text in messages)))

    def _refuse(self, status: int, message: str, code: str) -> None:
        self._send(
            status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
        )

    def _send(self, status: int, body: Body) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        # a client that has gone away needs no reply
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: the client reports what matters."""


def _completion(request: bytes, text: str, prompt_words: int) -> Body:
    """Wrap a reply in the schema; ids and times are made from the request, so that replies are the same every time."""
    completion_words = len(text.split())
    return {
        "id": f"chatcmpl-{hashlib.sha256(request).hexdigest()[:24]}",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": prompt_words,
            "completion_tokens": completion_words,
            "total_tokens": prompt_words + completion_words,
        },
    }
