import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.errors import DataError
from mbt_lite.metrics.paired import COMPARED, compare, mcnemar, paired_differences
from mbt_lite.records import PhaseSpan, Prediction

PROPERTY = settings(deadline=None, max_examples=100)


def predicted(question: str, exact: int, tokens: int = 10, variant: str = "sft", rollout: int = 0) -> Prediction:
    return Prediction(
        question_id=question, variant=variant, rollout_index=rollout, text="", finish_reason="stop",
        completion_tokens=tokens, answer="x", golds=("y",), exact_match=exact, f1=float(exact),
        substring_match=exact, answered=1, stopped=1, degenerate=0, answer_hit=0,
    )  # fmt: skip


def variant(name: str, *rows: tuple[int, int]) -> list[Prediction]:
    return [predicted(f"q{place:03d}", exact, tokens, name) for place, (exact, tokens) in enumerate(rows)]


def test_compare_by_hand() -> None:
    ours = variant("sft", (1, 50), (1, 60), (0, 70), (1, 80))
    base = variant("base", (0, 100), (0, 100), (0, 100), (1, 100))
    found = compare(ours, base, samples=500, seed=0)
    assert found["n"] == 4
    # nothing read the phases
    assert set(found["metrics"]) == set(COMPARED) - {"phase_coverage"}
    exact = found["metrics"]["exact_match"]
    assert exact["difference"] == 0.5
    assert 0 <= exact["low"] <= 0.5 <= exact["high"] <= 1
    assert found["metrics"]["completion_tokens"]["difference"] == -35
    assert found["metrics"]["degenerate"] == {"difference": 0.0, "low": None, "high": None, "p": 1.0}
    assert found["mcnemar"] == {"won": 2, "lost": 0, "p": 0.5}


def test_compare_is_paired_by_question_whatever_the_order() -> None:
    # every question is 10 tokens shorter, though questions differ by hundreds: pairs see it, two means would not
    ours = variant("sft", *[(1, 100 * place + 90) for place in range(20)])
    base = variant("base", *[(1, 100 * place + 100) for place in range(20)])
    found = compare(ours[::-1], base, samples=400, seed=0)["metrics"]["completion_tokens"]
    assert (found["difference"], found["low"], found["high"]) == (-10, -10, -10)
    assert found["p"] == pytest.approx(1 / 401)


def test_compare_pairs_phases_where_both_were_read() -> None:
    ours, base = variant("sft", (1, 50), (1, 60)), variant("base", (0, 100), (0, 100))
    plan = (PhaseSpan("plan", 0, 9),)
    read = [dataclasses.replace(row, phases=plan) for row in ours]
    unplanned = [dataclasses.replace(row, phases=()) for row in base]
    assert compare(read, unplanned, samples=20, seed=0)["metrics"]["phase_coverage"]["difference"] == 0.2
    assert "phase_coverage" not in compare(read, base, samples=20, seed=0)["metrics"]


def test_compare_has_no_mcnemar_for_several_completions() -> None:
    rows = [predicted("q", 1), predicted("q", 0, rollout=1)]
    base = [predicted("q", 0, variant="base"), predicted("q", 0, variant="base", rollout=1)]
    found = compare(rows, base, samples=20, seed=0)
    assert found["mcnemar"] is None
    assert found["metrics"]["exact_match"]["difference"] == 0.5


def test_compare_refuses_different_questions_and_compares_nothing_with_nothing() -> None:
    with pytest.raises(DataError, match="comparison: variant and base answered different questions"):
        compare(variant("sft", (1, 1)), variant("base", (1, 1), (1, 1)), samples=10, seed=0)
    assert compare([], [], samples=10, seed=0) == {"n": 0, "metrics": {}, "mcnemar": None}


def test_permutation_p_agrees_with_all_sign_flips() -> None:
    differences = [0.5, -0.25, 1.0, 0.75, 0.0, 0.5]
    flips = itertools.product((-1, 1), repeat=6)
    observed = abs(sum(differences))
    extreme = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) >= observed - 1e-12 for signs in flips]
    exact = sum(extreme) / len(extreme)
    found = paired_differences({"f1": differences}, samples=20_000, seed=0)["f1"]["p"]
    assert found == pytest.approx(exact, abs=0.012)


def test_permutation_p_is_uniform_where_there_is_no_difference() -> None:
    generator = np.random.default_rng(0)
    ps = [
        paired_differences({"x": list(generator.normal(size=30))}, samples=99, seed=seed)["x"]["p"]
        for seed in range(300)
    ]
    assert sum(p <= 0.05 for p in ps if p is not None) / 300 == pytest.approx(0.05, abs=0.035)


def test_bootstrap_interval_covers_the_true_difference() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for seed in range(200):
        found = paired_differences({"x": list(generator.normal(0.3, 1, size=60))}, samples=300, seed=seed)["x"]
        assert found["low"] is not None
        assert found["high"] is not None
        covered += found["low"] <= 0.3 <= found["high"]
    assert covered / 200 == pytest.approx(0.94, abs=0.05)


@pytest.mark.parametrize(
    ("won", "lost", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (6, 1, 0.125), (10, 10, 1.0), (15, 4, 0.019210815)],
)
def test_mcnemar_by_hand(won: int, lost: int, p: float) -> None:
    pairs = [(1, 0)] * won + [(0, 1)] * lost + [(1, 1), (0, 0)] * 3
    assert mcnemar(pairs) == {"won": won, "lost": lost, "p": pytest.approx(p)}


@PROPERTY
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_agrees_with_counting_outcomes(won: int, lost: int) -> None:
    n = won + lost
    ways = [math.comb(n, k) for k in range(n + 1)]
    two_sided = sum(way for way in ways if way <= ways[won]) / 2**n
    assert mcnemar([(1, 0)] * won + [(0, 1)] * lost)["p"] == pytest.approx(two_sided)


def test_mcnemar_takes_thousands() -> None:
    assert mcnemar([(1, 0)] * 3000 + [(0, 1)] * 2000)["p"] < 1e-40


def test_one_question_has_a_difference_without_an_interval() -> None:
    found = compare(variant("sft", (1, 10)), variant("base", (0, 10)), samples=50, seed=0)
    assert found["metrics"]["exact_match"] == {"difference": 1.0, "low": None, "high": None, "p": 1.0}
