import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.errors import DataError
from mbt_lite.metrics.aggregate import METRICS, aggregate, aggregate_aes
from mbt_lite.metrics.efficiency import ZERO_BASE_ACCURACY
from mbt_lite.metrics.intervals import wilson_interval
from mbt_lite.records import PhaseSpan, Prediction
from mbt_lite.text.phases import PHASES

PROPERTY = settings(deadline=None, max_examples=50)
TRACE_METRICS = (
    "phase_coverage", "first_mention", "words_after_mention", "repeated_4grams", "trace_words", "bridge_hit",
    *(f"phase/{phase}" for phase in PHASES),
)  # fmt: skip


def predicted(
    question: str,
    exact: int = 0,
    f1: float = 0.0,
    tokens: int = 10,
    hit: int = 0,
    rollout: int = 0,
    variant: str = "sft",
    **trace: Any,
) -> Prediction:
    return Prediction(
        question_id=question, variant=variant, rollout_index=rollout, text="", finish_reason="stop",
        completion_tokens=tokens, answer="x", golds=("y",), exact_match=exact, f1=f1, substring_match=exact,
        answered=1, stopped=1, degenerate=0, answer_hit=hit, **trace,
    )  # fmt: skip


def spans(*phases: str) -> tuple[PhaseSpan, ...]:
    return tuple(PhaseSpan(phase, 10 * place, 10 * place + 9) for place, phase in enumerate(phases))


ROWS = [
    predicted("a", exact=1, f1=1.0, tokens=10, hit=1),
    predicted("b", exact=0, f1=0.5, tokens=30, hit=1),
    predicted("c", exact=0, f1=0.0, tokens=20, hit=0),
    predicted("d", exact=1, f1=1.0, tokens=40, hit=0),
]


def test_aggregate_means_by_hand() -> None:
    found = aggregate(ROWS, samples=200, seed=0, only=[name for name in METRICS if name not in TRACE_METRICS])
    assert (found["n_questions"], found["n_predictions"]) == (4, 4)
    means = {name: estimate["mean"] for name, estimate in found["metrics"].items()}
    assert means == pytest.approx(
        {
            "exact_match": 0.5, "f1": 0.625, "substring_match": 0.5, "answered": 1.0, "stopped": 1.0,
            "degenerate": 0.0, "completion_tokens": 25.0, "answer_inclusive_error": 0.25,
            "answer_exclusive_error": 0.25, "answer_hit": 0.5,
        }
    )  # fmt: skip
    assert all(estimate["n"] == 4 and estimate["undefined_reason"] is None for estimate in found["metrics"].values())


def test_aggregate_of_traces_by_hand() -> None:
    rows = [
        predicted(
            "a", trace_words=50, words_to_mention=20, repeated_4grams=0.1, phases=spans("plan", "verify", "plan")
        ),
        predicted("b", trace_words=100, words_to_mention=80, repeated_4grams=0.3, phases=spans("plan")),
        predicted("c", trace_words=30, repeated_4grams=0.0, phases=()),
        predicted("d", phases=()),
        predicted("e", trace_words=0, repeated_4grams=0.0, phases=()),
    ]
    found = aggregate(rows, samples=50, seed=0)["metrics"]
    means = {name: (found[name]["mean"], found[name]["n"]) for name in TRACE_METRICS}
    assert means == {
        "phase_coverage": (pytest.approx((0.4 + 0.2) / 5), 5),
        "first_mention": (pytest.approx((0.4 + 0.8) / 2), 2),
        "words_after_mention": (pytest.approx((30 + 20) / 2), 2),
        "repeated_4grams": (pytest.approx(0.1), 4),
        "trace_words": (pytest.approx(45), 4),
        "bridge_hit": (None, 0),
        "phase/understand_filter": (0, 5), "phase/plan": (pytest.approx(0.4), 5), "phase/execute_monitor": (0, 5),
        "phase/self_correct": (0, 5), "phase/verify": (pytest.approx(0.2), 5),
    }  # fmt: skip


def test_aggregate_says_why_a_measure_has_no_value() -> None:
    found = aggregate([predicted("a")], samples=50, seed=0)["metrics"]
    assert found["first_mention"] == {
        "mean": None, "low": None, "high": None, "n": 0, "undefined_reason": "no trace mentions a gold",
    }  # fmt: skip
    assert found["repeated_4grams"]["undefined_reason"] == "no completion has a trace"
    assert (found["phase/plan"]["n"], found["phase/plan"]["undefined_reason"]) == (0, "nothing read the phases")
    told = aggregate([predicted("a")], samples=50, seed=0, no_phases="no trace labels them")["metrics"]
    assert told["phase_coverage"]["undefined_reason"] == "no trace labels them"


def test_aggregate_gives_only_what_is_asked_for() -> None:
    assert list(aggregate(ROWS, samples=10, seed=0, only=["f1"])["metrics"]) == ["f1"]


def test_aggregate_weighs_questions_alike_whatever_the_number_of_completions() -> None:
    rows = [predicted("a", exact=1), predicted("b"), predicted("b", rollout=1), predicted("b", rollout=2, exact=1)]
    found = aggregate(rows, samples=50, seed=0)
    assert (found["n_questions"], found["n_predictions"]) == (2, 4)
    assert found["metrics"]["exact_match"]["mean"] == pytest.approx((1 + 1 / 3) / 2)
    assert found["metrics"]["exact_match"]["n"] == 2


def test_aggregate_takes_wilson_for_shares_and_bootstrap_for_the_rest() -> None:
    metrics = aggregate(ROWS, samples=300, seed=5)["metrics"]
    assert (metrics["exact_match"]["low"], metrics["exact_match"]["high"]) == wilson_interval(2, 4)
    assert (metrics["degenerate"]["low"], metrics["degenerate"]["high"]) == wilson_interval(0, 4)
    generator = np.random.default_rng(5)
    draws = [generator.integers(4, size=4) for _ in range(300)]
    for name, values in {"f1": [1.0, 0.5, 0.0, 1.0], "completion_tokens": [10, 30, 20, 40]}.items():
        means = sorted(sum(values[i] for i in draw) / 4 for draw in draws)
        low, high = metrics[name]["low"], metrics[name]["high"]
        assert means[7] <= low <= means[8]
        assert means[291] <= high <= means[292]


def test_aggregate_interval_has_width_where_all_values_are_equal() -> None:
    found = aggregate([predicted(f"q{i}") for i in range(96)], samples=100, seed=0)["metrics"]
    wilson_of_none = 1.959964**2 / (96 + 1.959964**2)
    assert (found["exact_match"]["low"], found["exact_match"]["high"]) == pytest.approx((0.0, wilson_of_none))
    assert (found["f1"]["low"], found["f1"]["high"]) == pytest.approx((0.0, wilson_of_none))
    assert (found["completion_tokens"]["low"], found["completion_tokens"]["high"]) == (10, 10)


def test_aggregate_of_nothing_is_undefined_not_zero() -> None:
    found = aggregate([], samples=100, seed=0)
    assert (found["n_questions"], found["n_predictions"]) == (0, 0)
    assert set(found["metrics"]) == set(METRICS)
    for estimate in found["metrics"].values():
        assert estimate == {"mean": None, "low": None, "high": None, "n": 0, "undefined_reason": "no predictions"}


@PROPERTY
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 99)), min_size=1, max_size=12), st.randoms())
def test_aggregate_does_not_depend_on_the_order_of_rows_and_holds_its_mean(values, order) -> None:
    rows = [predicted(f"q{i}", exact=exact, f1=exact / 2, tokens=tokens) for i, (exact, tokens) in enumerate(values)]
    found = aggregate(rows, samples=50, seed=3)
    assert aggregate(order.sample(rows, len(rows)), samples=50, seed=3) == found
    for name, measure in METRICS.items():
        if name in TRACE_METRICS:
            continue
        estimate, column = found["metrics"][name], [measure(row) for row in rows]
        assert estimate["mean"] == pytest.approx(sum(column) / len(column))
        if name == "completion_tokens" and len(rows) > 1:
            assert min(column) <= estimate["low"] <= estimate["high"] <= max(column)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param([predicted("a"), predicted("a")], "there twice", id="one completion twice"),
        pytest.param([predicted("a"), predicted("b", variant="base")], "several variants", id="two variants"),
    ],
)
def test_aggregate_refuses_rows_that_do_not_belong_together(rows: list[Prediction], message: str) -> None:
    with pytest.raises(DataError, match=message):
        aggregate(rows, samples=10, seed=0)


def base(*rows: tuple[int, int]) -> list[Prediction]:
    return [predicted(f"q{i}", exact=exact, tokens=tokens, variant="base") for i, (exact, tokens) in enumerate(rows)]


def ours(*rows: tuple[int, int]) -> list[Prediction]:
    return [predicted(f"q{i}", exact=exact, tokens=tokens) for i, (exact, tokens) in enumerate(rows)]


def test_aggregate_aes_by_hand() -> None:
    # accuracy 0.5 -> 0.75, tokens 100 -> 50: 0.5 + 3 * 0.5
    base_rows = base((1, 80), (0, 120), (1, 100), (0, 100))
    found = aggregate_aes(ours((1, 50), (1, 50), (1, 40), (0, 60)), base_rows, samples=50, seed=0)
    assert found["mean"] == pytest.approx(2.0)
    assert found["n"] == 4
    worse = aggregate_aes(
        ours((1, 50), (0, 50), (0, 40), (0, 60)), base_rows, alpha=2, beta=1, gamma=4, samples=50, seed=0
    )
    assert worse["mean"] == pytest.approx(2 * 0.5 - 4 * 0.5)


def test_aggregate_aes_resamples_questions_in_pairs() -> None:
    # Ours is base with half the tokens, question by question: paired resamples all give the same score.
    pairs = [(1, 100 * (i + 1)) for i in range(12)]
    found = aggregate_aes(ours(*[(1, tokens // 2) for _, tokens in pairs]), base(*pairs), samples=200, seed=0)
    assert (found["mean"], found["low"], found["high"]) == pytest.approx((0.5, 0.5, 0.5))
    assert found["undefined_reason"] is None


def test_aggregate_aes_interval_agrees_with_resampling_by_hand() -> None:
    base_rows = [(1, 100), (1, 90), (1, 80), (1, 120), (1, 60)]
    our_rows = [(1, 40), (0, 90), (1, 20), (1, 60), (1, 30)]
    found = aggregate_aes(ours(*our_rows), base(*base_rows), samples=400, seed=9)
    generator, scores = np.random.default_rng(9), []
    for _ in range(400):
        draw = generator.integers(5, size=5)
        base_length, length = (sum(rows[i][1] for i in draw) for rows in (base_rows, our_rows))
        gain = sum(our_rows[i][0] for i in draw) / 5 - 1
        scores.append((base_length - length) / base_length + 5 * gain)
    scores.sort()
    assert scores[9] <= found["low"] <= scores[10]
    assert scores[389] <= found["high"] <= scores[390]


def test_aggregate_aes_is_undefined_where_base_is_never_right() -> None:
    found = aggregate_aes(ours((1, 50)), base((0, 100)), samples=50, seed=0)
    assert found == {"mean": None, "low": None, "high": None, "n": 1, "undefined_reason": ZERO_BASE_ACCURACY}


def test_aggregate_aes_leaves_the_interval_out_where_some_resamples_have_none() -> None:
    found = aggregate_aes(ours((1, 50), (0, 50)), base((1, 100), (0, 100)), samples=100, seed=0)
    assert found["mean"] == pytest.approx(0.5)
    assert (found["low"], found["high"]) == (None, None)
    assert found["undefined_reason"].startswith("no interval: undefined in ")
    assert " of 100 resamples" in found["undefined_reason"]


def test_aggregate_aes_of_nothing_is_undefined() -> None:
    assert aggregate_aes([], [], samples=10, seed=0)["undefined_reason"] == "no predictions"


def test_aggregate_aes_refuses_different_questions() -> None:
    with pytest.raises(DataError, match="different questions \\(got \\['q1'\\]"):
        aggregate_aes(ours((1, 50)), base((1, 50), (1, 50)), samples=10, seed=0)


def test_aggregate_of_96_questions_and_2000_resamples_takes_less_than_two_seconds() -> None:
    rows = [predicted(f"q{i}", f1=i / 96, tokens=i, exact=i % 2, rollout=k) for i in range(96) for k in range(2)]
    started = time.process_time()
    aggregate(rows, samples=2000, seed=0)
    assert time.process_time() - started < 2


def test_one_question_has_no_interval_unless_it_is_a_share() -> None:
    metrics = aggregate([predicted("a", f1=0.5, exact=1)], samples=50, seed=0)["metrics"]
    assert metrics["f1"] == {
        "mean": 0.5, "low": None, "high": None, "n": 1, "undefined_reason": "no interval: it is of one question",
    }  # fmt: skip
    assert metrics["exact_match"]["low"] == pytest.approx(wilson_interval(1, 1)[0])
    aes = aggregate_aes([predicted("a", exact=1)], [predicted("a", exact=1, tokens=20)], samples=50, seed=0)
    assert (aes["mean"], aes["low"], aes["high"]) == (0.5, None, None)
