"""Trace metrics by rule: was the right answer in the trace, was it lost, did the completion degenerate.

Source: answer-inclusive and answer-exclusive errors of arXiv 2602.22508. Where we differ:

1. The hit is by rule (a gold mentioned in the trace, by the same function as the reward's `keep`), not by a judge.
"""

from __future__ import annotations

from collections.abc import Sequence

from mbt_lite.rewards.mentions import words_through_first_mention


def answer_hit(trace: str | None, golds: Sequence[str]) -> int:
    """Give 1 if the trace mentions a gold, else 0; no trace 0. Golds shorter than three characters are no mentions.

    >>> answer_hit("So it is Paris. Or Rome?", ["Paris"])
    1
    """
    return int(words_through_first_mention(trace or "", golds) is not None)


def answer_inclusive_error(exact_match: int, hit: int) -> int:
    """Give 1 if the answer is wrong although the trace had it (it was lost), else 0.

    >>> answer_inclusive_error(exact_match=0, hit=1)
    1
    """
    return (1 - exact_match) * hit


def answer_exclusive_error(exact_match: int, hit: int) -> int:
    """Give 1 if the answer is wrong and the trace never had it, else 0.

    >>> answer_exclusive_error(exact_match=0, hit=0)
    1
    """
    return (1 - exact_match) * (1 - hit)


def is_degenerate(answer: str | None, *, stopped: bool) -> bool:
    """Tell whether a completion did not stop by itself or has no closed answer.

    >>> is_degenerate("Rome", stopped=False)
    True
    """
    return not stopped or answer is None
