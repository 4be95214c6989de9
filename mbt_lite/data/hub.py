"""Rows of a hub dataset, or of a folder that `datasets` can load, through `datasets.load_dataset`.

The path is `hub:owner/name` or `hub:owner/name:config`; a local folder is `hub:./folder`. The package is imported only
when such a path is read.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

from mbt_lite.errors import DataError

PREFIX = "hub:"


def read_rows(path: str, split: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give (where, row) of every row of one split.

    Raises DataError without a split, without the package, and when the dataset, its config or its split cannot be had.
    """
    if split is None:
        raise DataError(f"{path}: a hub dataset needs its split; set `split` beside `path`, such as `split: train`")
    if importlib.util.find_spec("datasets") is None:
        raise DataError(f"{path}: needs the package datasets; `pip install 'mbt-lite[train]'`, or name a file")
    import datasets

    name, _, config = path.removeprefix(PREFIX).partition(":")
    try:
        rows = datasets.load_dataset(name, config or None, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path}: cannot be loaded (split {split}: {reason}); check name, config, split and network, "
            "or download the dataset's file and name that"
        ) from error
    for number, row in enumerate(rows, 1):
        yield f"{path} {split}: record {number}", row
