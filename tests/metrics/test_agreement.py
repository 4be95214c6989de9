import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.metrics.agreement import agreement

LABELS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)


def test_agreement_by_hand() -> None:
    # Cohen's textbook table: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no
    pairs = [(1, 1)] * 20 + [(1, 0)] * 5 + [(0, 1)] * 10 + [(0, 0)] * 15
    found = agreement(pairs)
    assert (found["n"], found["share"]) == (50, 0.7)
    assert found["kappa"] == pytest.approx(0.4)


@settings(deadline=None, max_examples=100)
@given(LABELS)
def test_agreement_is_symmetric_and_at_most_one(pairs: list[tuple[int, int]]) -> None:
    found = agreement(pairs)
    assert agreement([(b, a) for a, b in pairs]) == found
    if found["kappa"] is not None:
        assert found["kappa"] <= 1
        assert math.isclose(found["kappa"], 1) == (found["share"] == 1)


def test_agreement_of_nothing_and_of_one_label_is_undefined() -> None:
    assert agreement([]) == {"n": 0, "share": None, "kappa": None, "undefined_reason": "nothing was labelled twice"}
    found = agreement([("a", "a")] * 3)
    assert found == {"n": 3, "share": 1.0, "kappa": None, "undefined_reason": "every label is the same"}
