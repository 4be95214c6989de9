"""Records of a large file one by one, never whole in memory: a JSON array or JSONL, told by the first character."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mbt_lite.errors import DataError
from mbt_lite.files import parse_json
from mbt_lite.layouts.fields import shown

CHUNK_CHARACTERS = 1 << 20


def iter_records(path: Path, faults: list[str] | None = None) -> Iterator[tuple[str, Any]]:
    """Give (where, record) of each record; blank lines are none.

    Raises DataError for a file that cannot be read, that is not UTF-8, or at the first record that is not JSON; with
    `faults`, what is wrong with a line of JSONL goes there instead, and the next line is read.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.read(1)
            while first.isspace():
                first = file.read(1)
            file.seek(0)
            yield from _iter_array(path, file) if first == "[" else _iter_lines(path, file, faults)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{_not_utf8(path)}; save or convert the file as UTF-8") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; {_what_was_meant(path)}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); name a file that can") from error


def _iter_lines(path: Path, file: IO[str], faults: list[str] | None) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            record = parse_json(line)
        except json.JSONDecodeError as error:
            got = shown(line.removesuffix("\n"))
            fault = f"{path}:{number}: not JSON ({error.msg}, got {got}); mend or delete the line"
            if faults is None:
                raise DataError(fault) from error
            faults.append(fault)
            continue
        yield f"{path}:{number}", record


def _iter_array(path: Path, file: IO[str]) -> Iterator[tuple[str, Any]]:
    decoder, chunk = json.JSONDecoder(), CHUNK_CHARACTERS
    lines_before = 1
    while (skipped := file.read(1)) != "[":
        lines_before += skipped == "\n"
    buffer, number, position = "", 0, 0
    while True:
        try:
            position = _skip_space(buffer, position)
            if number == 0 and buffer[position : position + 1] == "]":
                end = position
                break
            record, end = _decode(decoder, buffer, position)
            end = _skip_space(buffer, end)
            if buffer[end : end + 1] not in (",", "]"):
                raise json.JSONDecodeError("Expecting ',' delimiter", buffer, end)
        except json.JSONDecodeError as error:
            more = file.read(chunk)
            if not more:
                line = lines_before + buffer.count("\n", 0, error.pos)
                raise DataError(f"{path}:{line}: not JSON ({error.msg}); mend or re-download the file") from error
            # twice as much each time: a long record is not read over and over
            lines_before += buffer.count("\n", 0, position)
            buffer, position, chunk = buffer[position:] + more, 0, 2 * chunk
            continue
        number, chunk = number + 1, CHUNK_CHARACTERS
        yield f"{path}: record {number}", record
        if buffer[end] == "]":
            break
        position = end + 1
    if rest := (buffer[end + 1 :] + file.read()).strip():
        raise DataError(f"{path}: not JSON (after its array, got {shown(rest)}); mend or re-download the file")


def _decode(decoder: json.JSONDecoder, buffer: str, position: int) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(buffer, position)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise json.JSONDecodeError("too deep, or a number too long", buffer, position) from error


def _skip_space(buffer: str, position: int) -> int:
    while buffer[position : position + 1].isspace():
        position += 1
    return position


def _not_utf8(path: Path) -> str:
    """Say on which line a file is not UTF-8, and by which byte."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"{number}: not UTF-8 (got byte 0x{line[error.start]:02x})"
    raise AssertionError(f"{path}: every line is UTF-8, the file is not")


def _what_was_meant(path: Path) -> str:
    """Suggest a file of the same folder, or say that the folder is missing too."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either: check the path, it is relative to the working directory"
    names = sorted(entry.name for entry in path.parent.iterdir() if entry.is_file())
    near = difflib.get_close_matches(path.name, names, n=1)
    if near:
        return f"did you mean {path.parent / near[0]}?"
    return f"its folder holds {', '.join(names[:5]) or 'no files'}{', ...' if len(names) > 5 else ''}"
