"""Which questions need not be asked, and where a solution is cut: values worked out by hand."""

import pytest

from mbt_lite.rewards.gating import Gate, audit_draw, gate, gate_quality, is_audited, solve_limit
from mbt_lite.rewards.meta import Forecast


def told(*rates: int | None) -> list[Forecast]:
    return [Forecast(right_of_8=rate) for rate in rates]


@pytest.mark.parametrize(
    ("rates", "wanted"),
    [
        ((8, 8, 8, 8), "trivial"), ((8, 8, 8, 7), "trivial"), ((8, 8, 7, 7), "trivial"), ((0, 0, 0, 1), "unsolvable"),
        ((8, 8, 8, 6), "open"), ((0, 0, 0, 8), "open"), ((4, 4, 4, 4), "open"), ((8, 8), "open"),
        ((8, 8, None, None), "open"), ((8, 8, 8, None), "trivial"), ((), "open"),
    ],
)  # fmt: skip
def test_gate(rates: tuple[int | None, ...], wanted: Gate) -> None:
    assert gate(told(*rates), 0.1) == wanted


@pytest.mark.parametrize(
    ("tokens", "limit"),
    [
        ((100, 120, 90, 110), 160), ((40, 30, 35, 20), 65), ((70, 60), 130), ((45, 41, 50), 90), ((3, 4), 64),
        ((), 160), ((None, 40), 80), ((10**9, 10**9), 160),
    ],
)  # fmt: skip
def test_solve_limit(tokens: tuple[int | None, ...], limit: int) -> None:
    assert solve_limit([Forecast(tokens=one) for one in tokens], 2.0, 64, 160) == limit


@pytest.mark.parametrize(("factor", "limit"), [(1.1, 55), (1.11, 56), (2.3, 115), (0.01, 1), (1e308, 160)])
def test_solve_limit_of_an_odd_factor(factor: float, limit: int) -> None:
    assert solve_limit([Forecast(tokens=50)], factor, 1, 160) == limit


def test_audit_draws_are_decided_by_seed_step_and_question() -> None:
    draws = [audit_draw(0, step, "demo-train-0000") for step in range(4)]
    assert draws == pytest.approx([0.9986, 0.5799, 0.3032, 0.7602], abs=5e-5)
    assert [is_audited(0, step, "demo-train-0000", 0.5) for step in range(4)] == [False, False, True, False]
    share = sum(is_audited(0, 7, f"q{number}", 0.1) for number in range(2000)) / 2000
    assert 0.08 < share < 0.12


def test_gate_quality() -> None:
    spreadless, gated = [True, True, False, False, True], [True, False, True, False, True]
    assert gate_quality(spreadless, gated) == (pytest.approx(0.666667, abs=1e-6), pytest.approx(0.666667, abs=1e-6))
    assert gate_quality([False], [False]) == (None, None)
    assert gate_quality([True], [False]) == (None, 0.0)
