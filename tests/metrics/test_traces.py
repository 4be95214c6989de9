import itertools

import pytest

from mbt_lite.metrics.traces import answer_exclusive_error, answer_hit, answer_inclusive_error, is_degenerate
from mbt_lite.rewards.terms import keep_term


@pytest.mark.parametrize(
    ("trace", "golds", "expected"),
    [
        pytest.param("So it is Rome.", ["Rome"], 1, id="mentioned"),
        pytest.param("So it is Rome. Or Oslo?", ["Rome"], 1, id="mentioned and dropped"),
        pytest.param("So it is Romeo.", ["Rome"], 0, id="no whole word"),
        pytest.param("Let us see.", ["U.S."], 0, id="short gold"),
        pytest.param("America, then.", ["U.S.", "America"], 1, id="alias"),
        pytest.param(None, ["Rome"], 0, id="no trace"),
    ],
)
def test_answer_hit(trace: str | None, golds: list[str], expected: int) -> None:
    assert answer_hit(trace, golds) == expected


@pytest.mark.parametrize(("exact", "hit"), list(itertools.product((0, 1), (0, 1))))
def test_each_prediction_is_right_or_one_kind_of_error(exact: int, hit: int) -> None:
    inclusive, exclusive = answer_inclusive_error(exact, hit), answer_exclusive_error(exact, hit)
    assert exact + inclusive + exclusive == 1
    assert inclusive == int(not exact and hit)


@pytest.mark.parametrize("trace", ["It is Rome.", "It is Oslo.", "", None])
@pytest.mark.parametrize("exact", [0, 1])
def test_answer_inclusive_error_is_what_keep_punishes(trace: str | None, exact: int) -> None:
    hit = answer_hit(trace, ["Rome"])
    assert answer_inclusive_error(exact, hit) == -keep_term(trace, ["Rome"], exact=exact)


@pytest.mark.parametrize(
    ("answer", "stopped", "expected"),
    [("Rome", True, False), ("Rome", False, True), (None, True, True), (None, False, True), ("", True, False)],
)
def test_is_degenerate(answer: str | None, stopped: bool, expected: bool) -> None:
    assert is_degenerate(answer, stopped=stopped) is expected
