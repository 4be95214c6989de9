"""Records of a large file one by one: a JSON array or JSONL, told by the first character, or a table (see `tables`).

A file that is one object, on one line or over many, is read whole: it may hold the records (see `wrapped`). So are
objects that each stand over many lines, as `jq` writes them. A field that stands twice in an object is refused: JSON's
own reader would keep the last and drop the others.
"""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mbt_lite.data.signatures import refuse_foreign
from mbt_lite.data.tables import is_table, iter_rows
from mbt_lite.data.wrapped import rows_in
from mbt_lite.errors import DataError
from mbt_lite.layouts.fields import shown

CHUNK_CHARACTERS = 1 << 20


def iter_records(path: Path, faults: list[str] | None = None) -> Iterator[tuple[str, Any]]:
    """Give (where, record) of each record; blank lines are none.

    Raises DataError for a file that cannot be read, that is not UTF-8 or of another format, or at the first record that
    is not JSON; with `faults`, what is wrong with a line of JSONL goes there instead, and the next line is read.
    """
    if is_table(path) and path.is_file():
        yield from iter_rows(path, faults)
        return
    with _opened(path) as (file, first):
        if first == "[":
            yield from _iter_array(path, file)
            return
        values = _read_objects(path, file) if first == "{" else None
        if values is None:
            yield from _iter_lines(path, file, faults)
            return
        rows = rows_in(values[0][1]) if len(values) == 1 else None
        yield from values if rows is None else ((f"{path}: record {number}", row) for number, row in enumerate(rows, 1))


def read_object(path: Path) -> dict[str, Any] | None:
    """Give the one object that a file is; None for any other file. Raises DataError as `iter_records` does."""
    with _opened(path) as (file, first):
        values = _read_objects(path, file) if first == "{" else None
    return values[0][1] if values is not None and len(values) == 1 else None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[str], str]]:
    """Lend a file at its beginning, with its first character that is no white space; DataError if it has none to read.

    What the block raises of reading on becomes a DataError too.
    """
    try:
        refuse_foreign(path)
        with path.open(encoding="utf-8-sig") as file:
            first = file.read(1)
            while first.isspace():
                first = file.read(1)
            file.seek(0)
            yield file, first
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{_not_utf8(path)}; save or convert the file as UTF-8") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; {_what_was_meant(path)}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); name a file that can") from error


class _UnreadableError(ValueError):
    """JSON that is no record: a field twice, a number or a nesting beyond what can be read."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its fields, none of which may stand twice."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _UnreadableError(f"field {shown(twice)} stands twice in one object")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def _decode(text: str, start: int = 0) -> tuple[Any, int]:
    """Read the value that begins at `start`, and give where it ends; JSONDecodeError if it is not whole."""
    try:
        return _DECODER.raw_decode(text, start)
    except RecursionError as error:
        raise _UnreadableError("nested too deeply") from error
    except (json.JSONDecodeError, _UnreadableError):
        raise
    except ValueError as error:
        # a number of more digits than Python turns into one
        raise _UnreadableError(str(error).partition(";")[0]) from error


def _iter_lines(path: Path, file: IO[str], faults: list[str] | None) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(file, 1):
        text = line.strip()
        if not text:
            continue
        try:
            record, end = _decode(text)
            if end < len(text):
                raise json.JSONDecodeError("Extra data", text, end)
        except ValueError as error:
            wrong = f"not JSON ({error.msg}, " if isinstance(error, json.JSONDecodeError) else f"{error} ("
            fault = f"{path}:{number}: {wrong}got {shown(text)}); mend or delete the line"
            if faults is None:
                raise DataError(fault) from error
            faults.append(fault)
            continue
        yield f"{path}:{number}", record


def _read_objects(path: Path, file: IO[str]) -> list[tuple[str, Any]] | None:
    """Read a file that is one object, or objects over many lines each, with their places; None for JSONL.

    The file is left at its beginning.
    """
    number, line = next((number, line) for number, line in enumerate(file, 1) if line.strip())
    rest = file.read(CHUNK_CHARACTERS)
    try:
        value, end = _decode(line.strip())
        if end == len(line.strip()) and not rest.strip():
            return [(f"{path}:{number}", value)]
        is_lines = True
    except json.JSONDecodeError as error:
        # an object that goes on over lines; what is wrong within a line is told by it
        is_lines = error.pos < len(line.strip()) or _begins_with_object(rest)
    except _UnreadableError:
        is_lines = True
    text = "" if is_lines else "\n" * (number - 1) + line + rest + file.read()
    file.seek(0)
    return None if is_lines else list(_iter_values(path, text.rstrip()))


def _begins_with_object(text: str) -> bool:
    """Tell whether the first line of a text is a whole object: the line of a JSONL file."""
    try:
        return isinstance(json.loads(text.lstrip().partition("\n")[0]), dict)
    except (ValueError, RecursionError):
        return False


def _iter_values(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """Give the values that stand one after the other; DataError names the line at which one is broken."""
    position, number = _skip_space(text, 0), 0
    while position < len(text):
        number += 1
        try:
            value, position = _decode(text, position)
        except ValueError as error:
            is_torn = isinstance(error, json.JSONDecodeError)
            line = text.count("\n", 0, error.pos if isinstance(error, json.JSONDecodeError) else position) + 1
            wrong = f"not JSON ({error.msg})" if isinstance(error, json.JSONDecodeError) else str(error)
            raise DataError(f"{path}:{line}: {wrong}; mend {'or re-download ' if is_torn else ''}the file") from error
        yield f"{path}: record {number}", value
        position = _skip_space(text, position)


def _iter_array(path: Path, file: IO[str]) -> Iterator[tuple[str, Any]]:
    chunk = CHUNK_CHARACTERS
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
            record, end = _decode(buffer, position)
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
        except _UnreadableError as error:
            raise DataError(f"{path}: record {number + 1}: {error}; mend or delete the record") from error
        number, chunk = number + 1, CHUNK_CHARACTERS
        yield f"{path}: record {number}", record
        if buffer[end] == "]":
            break
        position = end + 1
    if rest := (buffer[end + 1 :] + file.read()).strip():
        raise DataError(f"{path}: not JSON (after its array, got {shown(rest)}); mend or re-download the file")


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
