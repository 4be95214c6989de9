"""Rows of a table as records: CSV and TSV by their header, Parquet through pyarrow. An empty cell is no field."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mbt_lite.errors import DataError
from mbt_lite.layouts.fields import shown

SUFFIXES = (".csv", ".tsv", ".parquet")
_DELIMITERS = (",", ";", "\t", "|")
# a document may be long; the module's own limit is 128 KiB
_LONGEST_CELL = 1 << 28
_PARQUET = b"PAR1"


def is_table(path: Path) -> bool:
    """Tell whether a file is a table, by its name, or Parquet by its first bytes."""
    if path.suffix.lower() in SUFFIXES:
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_PARQUET)) == _PARQUET


def iter_rows(path: Path, faults: list[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give (where, record) of each row.

    Raises DataError for a file that is no such table, and for a row that does not fit the header; with `faults` that
    goes there instead.
    """
    with path.open("rb") as file:
        is_parquet = file.read(len(_PARQUET)) == _PARQUET
    yield from _parquet(path) if is_parquet else _csv(path, faults)


def _csv(path: Path, faults: list[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            header = file.readline()
            file.seek(0)
            rows = csv.reader(file, delimiter=max(_DELIMITERS, key=header.count), strict=True)
            names = [name.strip() for name in next(rows, [])]
            if not any(names) or len(set(names)) < len(names):
                raise DataError(
                    f"{path}:1: no header of different names (got {shown(header.strip())}); add it as line 1"
                )
            before = rows.line_num
            for row in rows:
                where, before = f"{path}:{before + 1}", rows.line_num
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) == len(names):
                    yield where, {name: cell for name, cell in zip(names, row, strict=True) if name and cell.strip()}
                    continue
                fault = f"{where}: {len(row)} cells (the header has {len(names)}); quote cells that hold the separator"
                if faults is None:
                    raise DataError(fault)
                faults.append(fault)
        except csv.Error as error:
            raise DataError(f"{path}:{rows.line_num}: not CSV ({error}); mend or quote the cell") from error
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: not UTF-8 (got byte 0x{error.object[error.start]:02x}); save it as UTF-8"
            ) from error


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if importlib.util.find_spec("pyarrow") is None:
        raise DataError(
            f"{path}: Parquet needs the package pyarrow; `pip install 'mbt-lite[train]'`, or save it as CSV"
        )
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}: record {number}", {name: value for name, value in row.items() if value is not None}
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: not whole Parquet ({reason}); download or write it again") from error
