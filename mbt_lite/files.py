"""Files that survive `kill -9`: journals; whole files and folders, written beside their place and renamed there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mbt_lite.errors import DataError, RunError


class Journal:
    """An append-only JSONL file whose lines are on disk before `append` returns.

    Opening it cuts off a torn last line (a kill in the middle of a write); a broken line elsewhere is a DataError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _heal(path)
        self._file = path.open("a", encoding="utf-8")

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row and wait until it is on disk."""
        self.extend([row])

    def extend(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows with one flush; a kill keeps a prefix of them."""
        self.write(rows)
        self.sync()

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Hand rows to the kernel: they survive the death of this process, and after `sync` that of the machine."""
        self._file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        self._file.flush()

    def sync(self) -> None:
        """Wait until everything written is on disk; another thread may write meanwhile."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; every row is already on disk."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _heal(path: Path) -> None:
    """Cut off what follows the last newline: the half line of a killed write."""
    if not path.exists():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
            os.fsync(file.fileno())


def read_jsonl(path: Path, **kinds: type | types.UnionType) -> list[dict[str, Any]]:
    """Read the complete lines of a JSONL file; a missing file has none.

    Raises DataError (file:line) for a line that is not a JSON object, or has not these keys of these kinds. A torn last
    line is not a line yet.
    """
    if not path.exists():
        return []
    # cut before decoding: the torn line may end within a character
    complete, newline, _ = path.read_bytes().rpartition(b"\n")
    lines = enumerate(complete.split(b"\n") if newline else [], 1)
    return [_read_object(line, f"{path}:{number}", "delete the line to redo its work", kinds) for number, line in lines]


def read_json(path: Path, **kinds: type | types.UnionType) -> Any:
    """Read a file that holds one JSON object with these keys of these kinds; DataError names what is wrong with it."""
    return _read_object(path.read_bytes(), str(path), "bring a whole one back, or delete it to make it anew", kinds)


def parse_json(text: str) -> Any:
    """Read JSON; whatever is wrong with it is a JSONDecodeError, thousands of brackets or digits too.

    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    json.decoder.JSONDecodeError: too deep, or a number too long: line 1 column 1 (char 0)
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise json.JSONDecodeError("too deep, or a number too long", text, 0) from error


def _read_object(text: bytes, where: str, cure: str, kinds: Mapping[str, type | types.UnionType]) -> dict[str, Any]:
    try:
        value = parse_json(text.decode())
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not JSON (not UTF-8); {cure}") from error
    except json.JSONDecodeError as error:
        said = error.msg if error.lineno == 1 else f"{error.msg} on line {error.lineno}"
        raise DataError(f"{where}: not JSON ({said}); {cure}") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: not a JSON object (got {type(value).__name__}); {cure}")
    for key, kind in kinds.items():
        if not isinstance(value.get(key), kind):
            got = type(value[key]).__name__ if key in value else "nothing"
            raise DataError(f"{where}: `{key}` is not what was written (got {got}); {cure}")
    return value


def write_text(path: Path, text: str) -> None:
    """Write a whole file beside its place, then rename it there: readers see the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # two processes may write one file
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    # whatever stands there, a link above all, is not written through
    beside.unlink(missing_ok=True)
    with beside.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value as a whole file."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write all rows as a whole file, one a line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Lend an empty folder beside a place, and rename it there at the end: `folder` is whole, the old one, or absent.

    One process at a time may write a place: its caller holds a lock. Raises RunError where no folder can be.
    """
    beside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror}); choose another place with --out") from error
    try:
        yield beside
        if folder.exists():
            shutil.rmtree(folder)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
