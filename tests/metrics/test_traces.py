import itertools

import pytest

from mbt_lite.metrics.traces import (
    TraceFigures,
    answer_exclusive_error,
    answer_hit,
    answer_inclusive_error,
    is_degenerate,
    phase_coverage,
    trace_figures,
)
from mbt_lite.rewards.mentions import words_through_first_mention
from mbt_lite.rewards.terms import dwell_term, keep_term, redundancy_term
from mbt_lite.text.normalize import words


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


@pytest.mark.parametrize("gold", ["yes", "no"])
@pytest.mark.parametrize("exact", [0, 1])
def test_yes_and_no_are_diagnosed_and_rewarded_alike(gold: str, exact: int) -> None:
    trace = "The question is a yes or no question. Was it so? Yes or no? I cannot tell."
    assert answer_hit(trace, [gold]) == 0
    assert trace_figures(trace, [gold]).words_to_mention is None
    assert keep_term(trace, [gold], exact=exact) == 0
    assert dwell_term(trace, [gold], exact=exact, verification_words=0) == 0


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


def test_trace_figures_are_the_laws_whether_the_answer_is_right_or_not() -> None:
    trace = "First, we need the town. It is Oslo, it is Oslo, it is Oslo. Wait, Rome?"
    figures = trace_figures(trace, ["Oslo"])
    assert figures.trace_words == len(words(trace)) == 15
    assert figures.words_to_mention == words_through_first_mention(trace, ["Oslo"]) == 7
    assert figures.repeated_4grams == -redundancy_term(trace) == pytest.approx(3 / 12)


def test_trace_figures_tell_no_trace_from_an_empty_one() -> None:
    assert trace_figures(None, ["Oslo"]) == TraceFigures(None, None, None)
    assert trace_figures("", ["Oslo"]) == TraceFigures(0, None, 0.0)


def test_phase_coverage_tells_no_phase_from_no_reader() -> None:
    assert (phase_coverage(()), phase_coverage(None)) == (0.0, None)


@pytest.mark.parametrize("verification_words", [0, 2, 40])
def test_words_after_the_first_mention_are_what_dwell_punishes(verification_words: int) -> None:
    trace = "We ask. It is Rome. " + "We look again at the town. " * 3
    figures = trace_figures(trace, ["Rome"])
    assert figures.trace_words is not None
    assert figures.words_to_mention is not None
    after = figures.trace_words - figures.words_to_mention
    punished = -dwell_term(trace, ["Rome"], exact=1.0, verification_words=verification_words)
    assert punished == pytest.approx(max(0, after - verification_words) / figures.trace_words)
