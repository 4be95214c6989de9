"""Records of a large file one by one, never whole in memory: a JSON array or JSONL, told by the first character."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mbt_lite.data.fields import shown
from mbt_lite.errors import DataError

CHUNK_CHARACTERS = 1 << 20


def iter_records(path: Path) -> Iterator[tuple[str, Any]]:
    """Give (where, record) of each record; blank lines are none.

    Raises DataError for a file that cannot be read, that is not UTF-8, or at the first record that is not JSON.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.read(1)
            while first.isspace():
                first = file.read(1)
            file.seek(0)
            yield from _iter_array(path, file) if first == "[" else _iter_lines(path, file)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (got byte 0x{error.object[error.start]:02x}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); name a file that can") from error


def _iter_lines(path: Path, file: IO[str]) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                yield f"{path}:{number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{path}:{number}: not JSON ({error.msg}, got {shown(line.strip())}); mend or delete the line"
                ) from error


def _iter_array(path: Path, file: IO[str]) -> Iterator[tuple[str, Any]]:
    decoder, chunk = json.JSONDecoder(), CHUNK_CHARACTERS
    while file.read(1) != "[":
        pass
    buffer, number, position = "", 0, 0
    while True:
        position = _skip_space(buffer, position)
        try:
            if buffer[position : position + 1] == "]":
                return
            record, end = decoder.raw_decode(buffer, position)
            after = _skip_space(buffer, end)
            if buffer[after : after + 1] not in (",", "]"):
                raise json.JSONDecodeError("Expecting ',' or ']'", buffer, after)
        except json.JSONDecodeError as error:
            more = file.read(chunk)
            if not more:
                raise DataError(
                    f"{path}: record {number + 1}: not JSON ({error.msg}); mend or download the file again"
                ) from error
            # twice as much each time: a long record is not read over and over
            buffer, position, chunk = buffer[position:] + more, 0, 2 * chunk
            continue
        number, chunk = number + 1, CHUNK_CHARACTERS
        yield f"{path}: record {number}", record
        position = after if buffer[after] == "]" else after + 1


def _skip_space(buffer: str, position: int) -> int:
    while buffer[position : position + 1].isspace():
        position += 1
    return position
