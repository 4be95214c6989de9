"""What the tests of recipes share: a smallest recipe to add faults to, and the type of the `problems` fixture."""

from collections.abc import Callable

# A whole recipe in three lines: what a test adds begins on line 4.
MINIMAL = """\
model: {name: tiny}
data: {train: {path: train.jsonl},
  dev: {path: dev.jsonl}}
"""

Problems = Callable[..., list[str]]
