"""From the kernel's counts to terms, by hand and against the law."""

from typing import Any

import pytest

from mbt_lite.rewards.counts import COUNT_NAMES, Counts, to_terms
from mbt_lite.rewards.terms import TERMS, RewardLimits, length_term


def made(values: list[float]) -> Any:
    torch = pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    return torch.tensor(values, dtype=torch.float64)


LIMITS = RewardLimits(max_completion_tokens=100, verification_words=3, overlong_buffer_tokens=20)
# right and dwelling, lost, cut off and empty
ROWS = {
    "tokens": [90.0, 80.0, 0.0],
    "stopped": [1.0, 1.0, 0.0],
    "well_formed": [1.0, 1.0, 0.0],
    "exact": [1.0, 0.0, 0.0],
    "shared_words": [2.0, 1.0, 0.0],
    "both_words": [4.0, 5.0, 1.0],
    "trace_words": [20.0, 9.0, 0.0],
    "mention_words": [7.0, 4.0, 0.0],
    "repeated_ngrams": [0.0, 3.0, 0.0],
}


def test_to_terms_by_hand() -> None:
    assert tuple(ROWS) == COUNT_NAMES
    terms = to_terms(Counts(**{name: made(values) for name, values in ROWS.items()}), LIMITS)
    assert tuple(terms) == tuple(TERMS)
    assert list(zip(*(term.tolist() for term in terms.values()), strict=True)) == [
        (1.0, 1.0, 1.0, 0.0, -10 / 20, 0.0, -0.5),
        (0.4, 0.0, 1.0, -1.0, 0.0, -0.5, 0.0),
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0),
    ]


@pytest.mark.parametrize("buffer", [0, 1, 20, 200])
def test_to_terms_gives_the_laws_length(buffer: int) -> None:
    tokens = list(range(0, 106))
    ones = made([1.0] * len(tokens))
    limits = RewardLimits(max_completion_tokens=100, verification_words=0, overlong_buffer_tokens=buffer)
    counts = Counts(**dict.fromkeys(COUNT_NAMES, ones) | {"tokens": made(list(map(float, tokens)))})
    wanted = [
        length_term(count, stopped=True, max_completion_tokens=100, overlong_buffer_tokens=buffer) for count in tokens
    ]
    assert to_terms(counts, limits)["length"].tolist() == wanted
