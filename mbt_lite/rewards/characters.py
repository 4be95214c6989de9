"""What normalisation does with each character, as one table for the kernel.

Made from the same string methods that text/normalize.py calls, for the first two planes of Unicode: every living
script's and the emoji. An entry packs the lower-case form's UTF-8 bytes (bits 0-31, first byte lowest), their number
(bits 32-35) and the character's kind (bits 36-39). Left to the law are: NUL; capital sigma, whose lower case depends on
its place; what gets longer in lower case (three characters); and the planes beyond.
"""

from __future__ import annotations

import string
from functools import cache

import numpy as np
from numpy.typing import NDArray

CHARACTERS = 0x20000
DROPPED, SPACE, WORD, OTHER, LAW = range(5)
LENGTH_SHIFT, KIND_SHIFT = 32, 36


@cache
def character_table() -> NDArray[np.int64]:
    """Tabulate the characters [0x20000]."""
    return np.array([_entry(chr(code)) for code in range(CHARACTERS)], np.int64)


def _entry(character: str) -> int:
    kind = _kind(character)
    folded = character.lower().encode() if kind in (WORD, OTHER) else b" " if kind == SPACE else b""
    return int.from_bytes(folded, "little") | len(folded) << LENGTH_SHIFT | kind << KIND_SHIFT


def _kind(character: str) -> int:
    if character in string.punctuation:
        return DROPPED
    if character in "\0\N{GREEK CAPITAL LETTER SIGMA}" or "\ud800" <= character <= "\udfff":
        return LAW
    lower = character.lower()
    if len(lower) > 1 or len(lower.encode()) > len(character.encode()):
        return LAW
    # what `\w` matches, but for the underscore, which is punctuation
    return SPACE if lower.isspace() else WORD if lower.isalnum() else OTHER
