"""How fast the client is, and whether its memory stays flat: `python -m mbt_lite.teacher.benchmark --help`.

A server in a process of its own answers every chat request after a fixed latency. The ideal is what the latency alone
allows: requests / concurrency * latency. Printed are seconds, requests per second, the share of the ideal (the median
of some runs), the client's CPU seconds, and its resident memory on the way.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mbt_lite.recipe.schema import Teacher
from mbt_lite.teacher.client import complete
from mbt_lite.teacher.replies import Reply, ReplyJournal, TeacherRequest


class _Answerer(asyncio.Protocol):
    """One connection of the server: any request gets the same completion, `latency_seconds` later."""

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


async def _serve(latency_seconds: float, words: int) -> None:
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
def _server(latency_seconds: float, words: int) -> Iterator[str]:
    """Run the server in its own process; give its base URL."""
    command = [sys.executable, "-m", "mbt_lite.teacher.benchmark", "--serve"]
    command += ["--latency-seconds", str(latency_seconds), "--words", str(words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


def _resident_mib() -> float:
    """Give this process's resident memory, from Linux's /proc."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def measure(url: str, requests: int, concurrency: int, prompt_words: int) -> tuple[float, float, dict[int, float]]:
    """Ask once; give wall seconds, CPU seconds, and resident MiB by the number of replies so far."""
    content = "word " * prompt_words
    asked = [
        TeacherRequest("mbt_s", str(index), ({"role": "user", "content": content},), index) for index in range(requests)
    ]
    settings = Teacher(base_url=url, model="m", concurrency=concurrency, timeout_seconds=60.0)
    count, resident = 0, {0: _resident_mib()}
    marks = {max(1, requests * tenth // 10) for tenth in range(1, 11)}

    def note(reply: Reply) -> None:
        nonlocal count
        count += 1
        if count in marks:
            resident[count] = _resident_mib()

    with tempfile.TemporaryDirectory() as folder, ReplyJournal(Path(folder) / "replies.jsonl") as journal:
        wall, cpu = time.perf_counter(), time.process_time()
        complete(asked, settings, url, journal, on_reply=note)
        return time.perf_counter() - wall, time.process_time() - cpu, resident


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description="Measure the teacher's client against a server with a fixed latency.")
    parser.add_argument("--requests", type=int, default=2048)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency-seconds", type=float, default=0.2)
    parser.add_argument("--words", type=int, default=100, help="words of a reply")
    parser.add_argument("--prompt-words", type=int, default=500, help="words of a prompt")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help="be the server: print the port, answer until killed")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(_serve(options.latency_seconds, options.words))
        return
    ideal = math.ceil(options.requests / options.concurrency) * options.latency_seconds
    walls = []
    with _server(options.latency_seconds, options.words) as url:
        for run in range(1, options.runs + 1):
            wall, cpu, resident = measure(url, options.requests, options.concurrency, options.prompt_words)
            walls.append(wall)
            grown = " ".join(f"{count}:{mib:.0f}" for count, mib in resident.items())
            print(f"run {run}: {wall:.2f} s, client {cpu:.2f} CPU s, resident MiB {grown}", flush=True)
    wall = statistics.median(walls)
    share = f"{ideal / wall:.3f} of the ideal ({ideal:.2f} s)" if ideal else "no latency: no ideal"
    print(f"median of {options.runs}: {wall:.2f} s, {options.requests / wall:.0f} requests/s, {share}")


if __name__ == "__main__":
    main()
