"""A server that answers every chat request after a fixed latency, in a process of its own.

`python -m mbt_lite.bench.latency_server SECONDS WORDS` prints its port and answers until it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator


class _Answerer(asyncio.Protocol):
    """One connection: any request gets the same completion, `latency_seconds` later."""

    def __init__(self, latency_seconds: float, reply: bytes) -> None:
        self.latency_seconds = latency_seconds
        self.reply = reply
        self.pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.pending += data
        while b"\r\n\r\n" in self.pending:
            head, _, rest = self.pending.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(rest) < length:
                return
            self.pending = rest[length:]
            asyncio.get_running_loop().call_later(self.latency_seconds, self.transport.write, self.reply)


async def serve(latency_seconds: float, words: int) -> None:
    """Listen on a free port of the loopback, print it, answer until cancelled."""
    message = {"role": "assistant", "content": "word " * words}
    body = json.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": words, "total_tokens": 9 + words},
        }
    ).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    reply = head.encode() + body
    server = await asyncio.get_running_loop().create_server(
        lambda: _Answerer(latency_seconds, reply), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def latency_server(latency_seconds: float, words: int) -> Iterator[str]:
    """Run the server in its own process; give its base URL."""
    command = [sys.executable, "-m", __name__, str(latency_seconds), str(words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), int(sys.argv[2])))
