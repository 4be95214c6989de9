"""How fast the teacher's client is, and whether its memory stays flat.

A server answers every chat request after a fixed latency. The ideal is what the latency alone allows:
requests / concurrency * latency. The figure is the share of the ideal that the client reaches.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mbt_lite.bench.latency_server import latency_server
from mbt_lite.bench.measurement import measured
from mbt_lite.endpoint.client import complete
from mbt_lite.endpoint.replies import Reply, ReplyJournal, TeacherRequest
from mbt_lite.memory import resident_bytes
from mbt_lite.recipe.schema import Teacher
from mbt_lite.records import Measurement


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """What the client is given to do."""

    requests: int
    concurrency: int
    latency_seconds: float
    reply_words: int
    prompt_words: int

    @property
    def ideal_seconds(self) -> float:
        """The least time that the latency allows."""
        return math.ceil(self.requests / self.concurrency) * self.latency_seconds


def measure_client(load: Load, runs: int, say: Callable[[str], None]) -> Measurement:
    """Measure the client `runs` times; `say` gets a line after each."""
    walls = []
    with latency_server(load.latency_seconds, load.reply_words) as url:
        for run in range(1, runs + 1):
            wall, cpu, resident = ask(url, load)
            walls.append(wall)
            grown = " ".join(f"{count}:{mib:.0f}" for count, mib in resident.items())
            say(f"run {run}: {wall:.2f} s, client {cpu:.2f} CPU s, resident MiB by replies {grown}")
    wall = statistics.median(walls)
    figures = {
        "seconds": [round(wall, 3) for wall in walls],
        "requests_per_second": round(load.requests / wall),
        "share_of_ideal": round(load.ideal_seconds / wall, 3),
    }
    result = (
        f"teacher client: {figures['share_of_ideal']:.2f} of the ideal, {figures['requests_per_second']} requests/s "
        f"({load.requests} requests of {load.latency_seconds:g} s, {load.concurrency} at once, median of {runs})"
    )
    return measured("gen", result, settings=dataclasses.asdict(load), figures=figures, packages=["openai"])


def ask(url: str, load: Load) -> tuple[float, float, dict[int, float]]:
    """Send the load once; give wall seconds, CPU seconds, and resident MiB by the number of replies so far."""
    content = "word " * load.prompt_words
    asked = [
        TeacherRequest("mbt_s", str(index), ({"role": "user", "content": content},), index)
        for index in range(load.requests)
    ]
    settings = Teacher(base_url=url, model="m", concurrency=load.concurrency, timeout_seconds=60.0)
    count, resident = 0, {0: resident_bytes() / 2**20}
    marks = {max(1, load.requests * tenth // 10) for tenth in range(1, 11)}

    def note(reply: Reply) -> None:
        nonlocal count
        count += 1
        if count in marks:
            resident[count] = resident_bytes() / 2**20

    with tempfile.TemporaryDirectory() as folder, ReplyJournal(Path(folder) / "replies.jsonl") as journal:
        wall, cpu = time.perf_counter(), time.process_time()
        complete(asked, settings, url, journal, on_reply=note)
        return time.perf_counter() - wall, time.process_time() - cpu, resident
