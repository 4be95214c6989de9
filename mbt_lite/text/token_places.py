"""Which tokens a piece of a decoded text was written by."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Sequence

# Gives the text of token ids, special ones left out.
Decode = Callable[[Sequence[int]], str]


def token_places(ids: Sequence[int], decode: Decode, start: int, end: int) -> list[int]:
    """Give the places, in `ids`, of the tokens that wrote a part of the characters `start` to `end` of their text.

    A token that reaches over an edge is one of them, and so is one that wrote some bytes of a character; one without
    text, such as a special token, is not. It decodes beginnings of `ids`, a dozen for a thousand.

    >>> token_places([110, 101, 119], lambda ids: bytes(ids).decode(), 1, 3)
    [1, 2]
    """
    text = decode(ids)

    @functools.cache
    def written(count: int) -> tuple[int, int]:
        """Give the characters that the first tokens wrote whole, and those that they have a part in."""
        head = decode(ids[:count])
        # bytes of half a character show as characters that the text does not have
        whole = next((at for at, pair in enumerate(zip(head, text, strict=False)) if pair[0] != pair[1]), len(head))
        return whole, whole + (len(head) > whole)

    places = range(len(ids))
    first = bisect.bisect_right(places, start, key=lambda place: written(place + 1)[1])
    beyond = bisect.bisect_left(places, end, key=lambda place: written(place)[0])
    # within a character one more byte changes nothing yet, and neither does a token without text
    return [p for p in places[first:beyond] if written(p + 1) != written(p) or decode(ids[p : p + 1])]
