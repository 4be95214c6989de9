"""Token F1: how many words two short texts share, the score behind the reward's `answer` and the metric `f1`.

Source: the F1 of the SQuAD and MuSiQue scorers (multiset of normalised words).
"""

from __future__ import annotations

from collections import Counter

from mbt_lite.text.normalize import words


def token_f1(prediction: str, gold: str) -> float:
    """Give 2·shared / (words of prediction + words of gold), 0..1; repeated words count as often as both have them.

    Two texts without any word are equal and score 1 (MuSiQue's rule); one without, 0.

    >>> token_f1("New York City", "new york")
    0.8
    """
    predicted, wanted = words(prediction), words(gold)
    if not predicted and not wanted:
        return 1.0
    shared = (Counter(predicted) & Counter(wanted)).total()
    return 2 * shared / (len(predicted) + len(wanted))
