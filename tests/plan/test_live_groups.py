"""Expected shares of live groups: by hand, by drawing, and as one line of a plan."""

import random
from pathlib import Path

import pytest

from mbt_lite.files import write_jsonl
from mbt_lite.plan.live_groups import live_lines, live_share
from mbt_lite.recipe.schema import Grpo


def test_live_share_of_a_group_of_one_is_nothing_and_grows_to_all() -> None:
    rates = [{"rollouts": 4, "correct": 2}]
    assert live_share(rates, 1) == pytest.approx(0)
    # E[2 p (1 - p)] for Beta(2.5, 2.5)
    assert live_share(rates, 2) == pytest.approx(2 * 2.5 * 2.5 / (5 * 6))
    assert live_share(rates, 1000) > 0.99


def test_live_share_is_what_drawing_gives() -> None:
    rates = [{"rollouts": 8, "correct": correct} for correct in (0, 1, 8)]
    draw, live, trials = random.Random(0), 0, 20_000
    for _ in range(trials):
        row = draw.choice(rates)
        p = draw.betavariate(row["correct"] + 0.5, row["rollouts"] - row["correct"] + 0.5)
        live += 0 < sum(draw.random() < p for _ in range(6)) < 6
    assert live_share(rates, 6) == pytest.approx(live / trials, abs=0.015)


def test_live_lines_tell_what_a_step_takes_and_nothing_without_rates(tmp_path: Path) -> None:
    grpo = Grpo(prompts_per_step=16, group_size=6)
    assert list(live_lines(grpo, tmp_path)) == []
    (tmp_path / "gen").mkdir()
    rows = [{"question_id": str(index), "rollouts": 2, "correct": index % 2} for index in range(10)]
    write_jsonl(tmp_path / "gen" / "pass_rates.jsonl", [*rows, {"question_id": "x", "rollouts": 1, "correct": 0}])
    (line,) = live_lines(grpo, tmp_path)
    assert line.startswith("live groups by 10 pass rates (")
    assert f"{live_share(rows, 6):.0%} of groups of 6" in line
    assert f"{16 * live_share(rows, 6):.1f} a step of 16 x 6, 8 in steps of " in line


@pytest.mark.parametrize("prefilter", ["off", "gen", "start"])
def test_live_lines_leave_out_what_the_prefilter_does(tmp_path: Path, prefilter: str) -> None:
    (tmp_path / "grpo").mkdir()
    rows = [{"question_id": str(index), "rollouts": 4, "correct": index % 5} for index in range(10)]
    write_jsonl(tmp_path / "grpo" / "pass_rates.jsonl", rows)
    kept = rows if prefilter == "off" else [row for row in rows if row["correct"] in (1, 2, 3)]
    (line,) = live_lines(Grpo(prefilter=prefilter, group_size=8), tmp_path)
    assert line.startswith(f"live groups by {len(kept)} pass rates (")
    assert f"{live_share(kept, 8):.0%} of groups of 8" in line
