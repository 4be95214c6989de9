"""Dataset layouts: one module each, and here all of them.

A new layout is a module with its `LAYOUT`, and its line in `LAYOUTS`: recipes may then name it, `auto` recognises it,
and `eval` and `score` know its rules.
"""

from __future__ import annotations

from mbt_lite.errors import DataError
from mbt_lite.layouts import hotpot, mbt, musique, plain, twowiki
from mbt_lite.layouts.fields import names
from mbt_lite.layouts.layout import Layout, Row

# Marks are looked for in this order: 2Wiki has all fields of HotpotQA, and ours has a level too.
_IN_ORDER = (mbt.LAYOUT, musique.LAYOUT, twowiki.LAYOUT, hotpot.LAYOUT, plain.LAYOUT)
LAYOUTS = {layout.name: layout for layout in _IN_ORDER}

AUTO = "auto"
# the licence of what our generator invents
OURS = "apache-2.0"


def layout_named(name: str, row: Row, where: str, *, is_key: bool = False) -> Layout:
    """Give the layout of a name; `auto` tells it by the fields of a record. DataError if none fits."""
    if name in LAYOUTS:
        return LAYOUTS[name]
    if name != AUTO:
        raise DataError(f"layout: no such layout (got {name}); write {AUTO} or one of {', '.join(LAYOUTS)}")
    marks = {one: one.marks + (one.key_marks if is_key else ()) for one in sorted(LAYOUTS.values(), key=_is_plain)}
    for layout, signs in marks.items():
        if any(all(name in row for name in mark.split()) for mark in signs):
            return layout
    known = ", ".join(f"{' or '.join(map(_read, signs))} ({layout.name})" for layout, signs in marks.items())
    raise DataError(f"{where}: no layout has these fields (got {names(row)}); known by {known}: name its layout")


def _is_plain(layout: Layout) -> bool:
    """Tell the layout that is looked for last: every other has a question and an answer, too."""
    return layout is plain.LAYOUT


def _read(mark: str) -> str:
    return mark.replace(" ", " and ")


def sources() -> dict[str, Layout]:
    """Give the layout by which questions of each source are scored; our generator writes our own layout."""
    return {**LAYOUTS, "synthetic": LAYOUTS["mbt"]}


def licence_of_source(source: str) -> str | None:
    """Give the licence that questions of a source are published under, in the hub's words; None: not known.

    MuSiQue and HotpotQA say it on their pages, 2Wiki's authors on their dataset card; our generator's is our own.
    """
    return OURS if source == "synthetic" else LAYOUTS[source].licence if source in LAYOUTS else None
