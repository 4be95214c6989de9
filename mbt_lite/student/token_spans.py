"""Which tokens of a text write which of its characters, whatever the tokenizer: read from what their beginnings say."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any


def token_span(tokenizer: Any, ids: Sequence[int], start: int, end: int) -> tuple[int, int]:
    """Give the tokens, from the first up to but not including the last, that write the characters from start to end.

    Characters count in what the tokens decode to, special ones left out. A token that writes more than those is in it.
    """

    def said(count: int) -> str:
        return str(tokenizer.decode(ids[:count], skip_special_tokens=True))

    text, counts = said(len(ids)), range(len(ids) + 1)
    assert 0 <= start < end <= len(text), (start, end, len(text))
    first = bisect.bisect_right(counts, start, key=lambda count: len(said(count))) - 1
    last = bisect.bisect_left(counts, end, key=lambda count: len(said(count)))
    # a character may be several tokens: the first of them counts as one already
    while said(last)[:end] != text[:end]:
        last += 1
    return first, last
