import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mbt_lite.rewards import terms
from mbt_lite.text.completion import parse_completion
from mbt_lite.text.normalize import words

PROPERTY = settings(deadline=None, max_examples=200)
WORDS = st.sampled_from(["we", "look", "Rome", "again", "the", "wait", "is", "it", "first", "need", "york"])
TRACES = st.lists(WORDS, max_size=30).map(" ".join)
ANSWERS = st.none() | st.lists(WORDS, max_size=4).map(" ".join)
GOLDS = st.lists(st.lists(WORDS, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("answer", "golds", "expected_f1", "expected_exact"),
    [
        pytest.param(None, ["Rome"], 0.0, 0.0, id="no answer"),
        pytest.param("", ["Rome"], 0.0, 0.0, id="empty answer"),
        pytest.param("rome.", ["The Rome"], 1.0, 1.0, id="equal after normalisation"),
        pytest.param("new york city", ["new york"], 0.8, 0.0, id="one word too many"),
        pytest.param("york", ["Rome", "new york"], 2 / 3, 0.0, id="best of two golds"),
        pytest.param("b", ["a", "B"], 1.0, 1.0, id="alias"),
        pytest.param("the", ["A"], 1.0, 1.0, id="both without words"),
        pytest.param("yes it is", ["yes"], 0.5, 0.0, id="plain F1 for yes and no"),
    ],
)
def test_answer_and_exact_terms(
    answer: str | None, golds: list[str], expected_f1: float, expected_exact: float
) -> None:
    assert terms.answer_term(answer, golds) == pytest.approx(expected_f1, abs=1e-12)
    assert terms.exact_term(answer, golds) == expected_exact


@pytest.mark.parametrize(
    ("text", "stopped", "expected"),
    [
        pytest.param("<think>t</think>\n<answer>a</answer>", True, 1.0, id="clean"),
        pytest.param("<think>t</think>\n<answer>a</answer>", False, 0.0, id="clean but cut off"),
        pytest.param("<answer>a</answer>", True, 0.0, id="no think pair"),
        pytest.param("<think>t</think>\n<answer>a</answer> bye", True, 0.0, id="text after"),
    ],
)
def test_format_term(text: str, stopped: bool, expected: float) -> None:
    assert terms.format_term(parse_completion(text), stopped=stopped) == expected


@pytest.mark.parametrize(
    ("trace", "golds", "exact", "expected"),
    [
        pytest.param("It is Rome.", ["Rome"], 0.0, -1.0, id="had it and lost it"),
        pytest.param("It is Rome.", ["Rome"], 1.0, 0.0, id="had it and kept it"),
        pytest.param("It is Oslo.", ["Rome"], 0.0, 0.0, id="never had it"),
        pytest.param("It is Roma, romeo.", ["Rome"], 0.0, 0.0, id="no whole word"),
        pytest.param("Let us see.", ["US", "America"], 0.0, 0.0, id="short gold is no mention"),
        pytest.param("In america then.", ["US", "America"], 0.0, -1.0, id="alias"),
        pytest.param(None, ["Rome"], 0.0, 0.0, id="no trace"),
    ],
)
def test_keep_term(trace: str | None, golds: list[str], exact: float, expected: float) -> None:
    assert terms.keep_term(trace, golds, exact=exact) == expected


@pytest.mark.parametrize(
    ("trace", "verification_words", "exact", "expected"),
    [
        pytest.param("so it is Rome we look again and again", 0, 1.0, -5 / 9, id="five of nine words after"),
        pytest.param("so it is Rome we look again and again", 3, 1.0, -2 / 9, id="three of them allowed"),
        pytest.param("so it is Rome we look again and again", 5, 1.0, 0.0, id="all of them allowed"),
        pytest.param("so it is Rome we look again and again", 0, 0.0, 0.0, id="wrong answers do not dwell"),
        pytest.param("so it is Rome we look Rome again Rome", 0, 1.0, -5 / 9, id="first mention counts"),
        pytest.param("so it is Oslo", 0, 1.0, 0.0, id="never mentioned"),
        pytest.param("Rome", 0, 1.0, 0.0, id="nothing after"),
        pytest.param("", 0, 1.0, 0.0, id="empty trace"),
        pytest.param(None, 0, 1.0, 0.0, id="no trace"),
    ],
)
def test_dwell_term(trace: str | None, verification_words: int, exact: float, expected: float) -> None:
    value = terms.dwell_term(trace, ["Rome"], exact=exact, verification_words=verification_words)
    assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        pytest.param(None, 0.0, id="no trace"),
        pytest.param("one two three", 0.0, id="no 4-gram"),
        pytest.param("one two three four", 0.0, id="one 4-gram"),
        pytest.param("a b c d e f g h", 0.0, id="no repeat"),
        pytest.param("x x x x x x", -2 / 3, id="one word six times"),
        pytest.param("b c d e b c d e", -1 / 5, id="a sentence twice"),
        pytest.param("The b c, d e. B the c d e!", -1 / 5, id="articles and marks do not hide it"),
    ],
)
def test_redundancy_term(trace: str | None, expected: float) -> None:
    assert terms.redundancy_term(trace) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("tokens", "stopped", "buffer", "expected"),
    [
        pytest.param(1, True, 100, 0.0, id="short"),
        pytest.param(900, True, 100, 0.0, id="where the buffer begins"),
        pytest.param(925, True, 100, -0.25, id="a quarter into the buffer"),
        pytest.param(1000, True, 100, -1.0, id="at the limit"),
        pytest.param(1001, True, 100, -1.0, id="beyond the limit"),
        pytest.param(500, False, 100, -1.0, id="truncated"),
        pytest.param(1000, True, 0, 0.0, id="no buffer, at the limit"),
        pytest.param(1000, False, 0, -1.0, id="no buffer, truncated"),
        pytest.param(500, True, 2000, -0.75, id="buffer longer than the limit"),
    ],
)
def test_length_term(tokens: int, stopped: bool, buffer: int, expected: float) -> None:
    value = terms.length_term(tokens, stopped=stopped, max_completion_tokens=1000, overlong_buffer_tokens=buffer)
    assert value == pytest.approx(expected, abs=1e-12)


@PROPERTY
@given(TRACES)
def test_redundancy_term_agrees_with_looking_back(trace: str) -> None:
    sequence = words(trace)
    ngrams = [sequence[i : i + 4] for i in range(max(0, len(sequence) - 3))]
    repeats = sum(ngram in ngrams[:i] for i, ngram in enumerate(ngrams))
    assert terms.redundancy_term(trace) == pytest.approx(-repeats / max(1, len(ngrams)), abs=1e-12)


@PROPERTY
@given(TRACES)
def test_redundancy_term_does_not_improve_when_the_trace_is_said_twice(trace: str) -> None:
    assume(len(words(trace)) >= 4)
    assert terms.redundancy_term(f"{trace} {trace}") < terms.redundancy_term(trace) + 1e-12


@PROPERTY
@given(TRACES, GOLDS, st.integers(0, 10))
def test_dwell_term_agrees_with_counting_from_the_end(trace: str, golds: list[str], allowed: int) -> None:
    sequence, longest = words(trace), 0
    mentions = [words(gold) for gold in golds if len(" ".join(words(gold))) >= 3]
    for after in range(len(sequence) + 1):
        head = sequence[: len(sequence) - after]
        if any(head[-len(mention) :] == mention for mention in mentions):
            longest = after
    expected = -max(0, longest - allowed) / max(1, len(sequence))
    assert terms.dwell_term(trace, golds, exact=1.0, verification_words=allowed) == pytest.approx(expected, abs=1e-12)


@PROPERTY
@given(TRACES, GOLDS, st.integers(0, 10))
def test_dwell_term_falls_with_words_after_the_mention_and_rises_with_the_allowance(trace, golds, allowed) -> None:
    def dwell(text: str, allowance: int) -> float:
        return terms.dwell_term(text, ["Rome"], exact=1.0, verification_words=allowance)

    assert dwell(f"Rome {trace} more", allowed) <= dwell(f"Rome {trace}", allowed)
    assert dwell(f"Rome {trace}", allowed + 1) >= dwell(f"Rome {trace}", allowed)


@PROPERTY
@given(st.integers(1, 1000), st.integers(0, 300))
def test_length_term_agrees_with_a_line_and_never_rises(tokens: int, buffer: int) -> None:
    def length(count: int) -> float:
        return terms.length_term(count, stopped=True, max_completion_tokens=1000, overlong_buffer_tokens=buffer)

    line = (1000 - tokens) / buffer - 1 if buffer else 0.0
    assert length(tokens) == pytest.approx(min(0.0, max(-1.0, line)), abs=1e-12)
    assert length(tokens + 1) <= length(tokens)


@PROPERTY
@given(ANSWERS, GOLDS)
def test_answer_terms_stay_in_range_and_agree_with_each_other(answer: str | None, golds: list[str]) -> None:
    f1, exact = terms.answer_term(answer, golds), terms.exact_term(answer, golds)
    assert 0.0 <= f1 <= 1.0
    assert exact in (0.0, 1.0)
    assert exact <= f1
    for shuffled in itertools.permutations(golds):
        assert terms.answer_term(answer, shuffled) == f1
        assert terms.exact_term(answer, shuffled) == exact


@PROPERTY
@given(ANSWERS, GOLDS, st.lists(WORDS, min_size=1, max_size=3).map(" ".join))
def test_answer_terms_never_fall_with_another_alias(answer: str | None, golds: list[str], alias: str) -> None:
    assert terms.answer_term(answer, [*golds, alias]) >= terms.answer_term(answer, golds)
    assert terms.exact_term(answer, [*golds, alias]) >= terms.exact_term(answer, golds)


@PROPERTY
@given(TRACES, GOLDS)
def test_keep_and_dwell_never_punish_the_same_completion(trace: str, golds: list[str]) -> None:
    for exact in (0.0, 1.0):
        keep = terms.keep_term(trace, golds, exact=exact)
        dwell = terms.dwell_term(trace, golds, exact=exact, verification_words=0)
        assert keep == 0.0 or dwell == 0.0
