"""What a file is that is no JSON: named by its first bytes, before anything tries to read records from it."""

from __future__ import annotations

import re
from pathlib import Path

from mbt_lite.errors import DataError

_HEAD_BYTES = 4096
_AGAIN = "download the file itself"
_UNPACK = "unpack it and name the file inside"
_TO_JSONL = "convert it to JSONL, one object a line (pandas: `to_json(..., orient='records', lines=True)`)"
_FOLDER = f"{_TO_JSONL}, or name its folder as hub:./FOLDER with its split"
_SIGNATURES = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file", "`git lfs pull` brings it"),
    (b"/annex/objects/", "a git-annex pointer, not the file", "`git annex get` brings it"),
    (b"\x1f\x8b", "gzip", _UNPACK),
    (b"BZh", "bzip2", _UNPACK),
    (b"\xfd7zXZ\0", "xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "zstd", _UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"PK\x03\x04", "a zip archive or a workbook", "unpack it, or save the sheet as JSONL"),
    (b"PAR1", "Parquet", _FOLDER),
    (b"ARROW1", "Arrow", _FOLDER),
    (b"\xff\xff\xff\xff", "Arrow", _FOLDER),
    (b"SQLite format 3", "an SQLite database", _TO_JSONL),
    (b"\x89HDF", "HDF5", _TO_JSONL),
    (b"\x80\x02", "a pickle, which is never opened", _TO_JSONL),
    (b"\x80\x03", "a pickle, which is never opened", _TO_JSONL),
    (b"\x80\x04", "a pickle, which is never opened", _TO_JSONL),
    (b"\x80\x05", "a pickle, which is never opened", _TO_JSONL),
    (b"%PDF", "a PDF", _TO_JSONL),
    (b"\xff\xfe", "UTF-16", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16", "save it as UTF-8"),
)
_CELL = r'"?[\w .-]+"?'
_CSV_HEADER = re.compile(rf"{_CELL}([,;\t]{_CELL})+")


def refuse_foreign(path: Path) -> None:
    """Raise DataError for a file that is empty, or of a format that is not ours to read, with what it is."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise DataError(f"{path}: is empty (got 0 bytes); {_AGAIN}, or name another")
    if (found := _what_it_is(head, path.suffix)) is not None:
        what, cure = found
        raise DataError(f"{path}: is no JSON (got {what}); {cure}")


def _what_it_is(head: bytes, suffix: str) -> tuple[str, str] | None:
    """Give what a file that begins so is, and the cure; None if it may be JSON."""
    for signature, what, cure in _SIGNATURES:
        if head.startswith(signature):
            return what, cure
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").lstrip()
    if text.startswith(("<!", "<html", "<HTML", "<?xml")):
        return "a web page or XML", f"{_AGAIN}, not the page about it"
    if "\0" in text:
        return "NUL bytes: UTF-16, a binary file, or one that was lost in a crash", f"save it as UTF-8, or {_AGAIN}"
    header = text.partition("\n")[0].rstrip("\r")
    if text[:1] not in ("{", "[") and (suffix in (".csv", ".tsv") or _CSV_HEADER.fullmatch(header)):
        return "CSV or TSV", _TO_JSONL
    return None
