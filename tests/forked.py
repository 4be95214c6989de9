"""Processes of their own, forked from a server that has imported the libraries, so that a start costs no import."""

import contextlib
import dataclasses
import multiprocessing
import os
import resource
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIBRARIES = [
    "torch", "transformers", "bitsandbytes", "peft", "datasets", "trl", "trl.trainer.sft_trainer",
    "trl.trainer.grpo_trainer", "sklearn.linear_model", "altair", "vl_convert", "mbt_lite.cli", "mbt_lite.export.run",
    "mbt_lite.training.sft", "mbt_lite.training.grpo", "mbt_lite.stages.gen", "mbt_lite.stages.eval",
]  # fmt: skip
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(LIBRARIES)


@dataclasses.dataclass(slots=True)
class Running:
    """A process under way; its output, of both streams, is read all the time."""

    process: Any
    reader: threading.Thread
    output: list[bytes]

    def finish(self, seconds: float = 300) -> tuple[int, str]:
        """Give exit code and output; one that hangs is killed, and has none."""
        self.process.join(seconds)
        assert not self.process.is_alive() or self.kill() is None, "it hangs"
        self.reader.join(10)
        return self.process.exitcode, b"".join(self.output).decode(errors="replace")

    def kill(self) -> None:
        """Kill it as `kill -9` does, unless it has ended: its number may be another's by now."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def start(function: Callable[..., Any], *arguments: Any) -> Running:
    """Call a function of a module in a process of its own."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    process = CONTEXT.Process(target=_call, args=(writer, function, arguments))
    process.start()
    writer.close()
    output: list[bytes] = []
    thread = threading.Thread(target=_drain, args=(reader, output), daemon=True)
    thread.start()
    return Running(process, thread, output)


def start_command(*words: str, largest_file: int | None = None) -> Running:
    """Start a command as `python -m mbt_lite` does; no file may grow beyond `largest_file` bytes."""
    return start(_command, words, largest_file)


def _command(words: tuple[str, ...], largest_file: int | None) -> None:
    from mbt_lite.cli import main

    sys.argv = ["mbt-lite", *words]
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    main()


def _call(output: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.chdir(ROOT)
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", buffering=1, encoding="utf-8") for descriptor in (1, 2))
    function(*arguments)


def _drain(reader: Connection, output: list[bytes]) -> None:
    with contextlib.closing(reader):
        while chunk := os.read(reader.fileno(), 65536):
            output.append(chunk)
