"""How far two raters agree beyond chance: share of equal labels and Cohen's kappa (Cohen 1960)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any


def agreement(pairs: Sequence[tuple[Hashable, Hashable]]) -> dict[str, Any]:
    """Give `n`, `share` of equal labels, `kappa`, and `undefined_reason` where there is no kappa.

    kappa = (share - chance) / (1 - chance), chance from how often each rater gives each label. Undefined where both
    always give one and the same label: there was nothing to agree on.

    >>> agreement([("a", "a"), ("a", "b"), ("b", "b"), ("b", "b")])["kappa"]
    0.5
    """
    n = len(pairs)
    if not n:
        return {"n": 0, "share": None, "kappa": None, "undefined_reason": "nothing was labelled twice"}
    share = sum(one == other for one, other in pairs) / n
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(first[label] * second[label] for label in first) / n**2
    if chance == 1:
        return {"n": n, "share": share, "kappa": None, "undefined_reason": "every label is the same"}
    return {"n": n, "share": share, "kappa": (share - chance) / (1 - chance), "undefined_reason": None}
