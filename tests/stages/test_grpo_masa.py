"""MASA through stage grpo on the tiny student: pairs in a step, forecasts first, a kill between the two passes."""

import collections
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")

from grpo_lab import recipe, run
from safetensors.torch import load_file

from mbt_lite.files import read_jsonl
from mbt_lite.methods import masa
from mbt_lite.recipe.schema import Recipe
from mbt_lite.rewards.meta import Forecast
from mbt_lite.run_dir import RunDir
from mbt_lite.stages import grpo
from mbt_lite.student.libraries import prepare
from mbt_lite.training import grpo as training
from mbt_lite.training import grpo_rollouts

GROUP = 4


@pytest.fixture(autouse=True)
def switches(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare()

    # the tiny student writes no forecast: each of its texts is taken for one
    read = masa.read_forecast

    def foretold(text: str, *, prefilled_think: bool = False) -> Forecast:
        if "</answer>" in text:
            # of the dry run
            return read(text)
        number = zlib.crc32(text.encode())
        return Forecast(("a name",), number % 9, 4 + number % 8)

    def gate(forecasts: Sequence[Forecast], sd: float) -> str:
        return "unsolvable" if sum(one.right_of_8 or 0 for one in forecasts) % 2 else "open"

    monkeypatch.setattr(masa, "read_forecast", foretold)
    monkeypatch.setattr(masa, "gate", gate)


def masa_recipe(student_folder: Path, steps: int = 3, **settings: Any) -> Recipe:
    section = {"cutoff_floor_tokens": 2, "audit_share": 0.0} | settings
    return recipe(student_folder, steps=steps, method="masa", masa=section, max_completion_tokens=256)


def rows_of(out: Path) -> list[dict[str, Any]]:
    return read_jsonl(out / "grpo/completions.jsonl")


def figures(out: Path) -> list[dict[str, Any]]:
    return [row for row in read_jsonl(out / "grpo/metrics.jsonl") if "loss" in row]


def test_a_step_has_a_group_that_solves_and_one_that_foretells(student_folder: Path, tmp_path: Path) -> None:
    run(masa_recipe(student_folder), RunDir(tmp_path))
    rows = rows_of(tmp_path)
    assert collections.Counter(row["step"] for row in rows) == dict.fromkeys((1, 2, 3), 2 * 2 * GROUP)
    for start in range(0, len(rows), 2 * GROUP):
        pair = rows[start : start + 2 * GROUP]
        assert len({row["question_id"] for row in pair}) == 1
        assert [row["kind"] for row in pair] == ["solve"] * GROUP + ["meta"] * GROUP
        assert all(row["terms"] and "extra/total" not in row for row in pair[:GROUP])
        assert all(not row["terms"] and row["reward"] == row["extra/total"] for row in pair[GROUP:])
    for row in figures(tmp_path):
        step = [one for one in rows if one["step"] == row["step"]]
        solved, told = ([one for one in step if one["kind"] == kind] for kind in ("solve", "meta"))
        assert row["reward/length"] == pytest.approx(sum(one["terms"]["length"] for one in solved) / len(solved))
        assert row["extra/rate"] == pytest.approx(sum(one["extra/rate"] for one in told) / len(told))
        assert row["masa/constant_rate"] == 1.0
        assert row["masa/solve_tokens"] == sum(one["completion_tokens"] for one in solved)
        assert row["masa/parsed"] == 1.0
    assert "kind" not in (tmp_path / "grpo/completions.html").read_text()


def test_forecasts_come_first_after_so_many_steps(student_folder: Path, tmp_path: Path) -> None:
    made = masa_recipe(student_folder, steps=5, sequential_after=1)
    run(made, RunDir(tmp_path / "first"))
    rows = rows_of(tmp_path / "first")
    gated = 0
    for start in range(0, len(rows), 2 * GROUP):
        solves, metas = rows[start : start + GROUP], rows[start + GROUP : start + 2 * GROUP]
        if solves[0]["step"] == 1:
            assert all(row["terms"] for row in solves)
            continue
        forecasts = [masa.read_forecast(row["text"]) if row["finish_reason"] == "stop" else Forecast() for row in metas]
        if masa.gate(forecasts, 0.1) == "open":
            told = sorted(one.tokens for one in forecasts if one.tokens is not None)
            limit = masa.solve_limit([Forecast(tokens=one) for one in told], 2.0, 2, 256)
            assert all(row["completion_tokens"] <= limit for row in solves)
            assert all(row["extra/total"] == row["reward"] for row in metas)
        else:
            gated += 1
            assert all((row["text"], row["completion_tokens"]) == ("", 1) for row in solves)
            assert {row["reward"] for row in (*solves, *metas)} == {0.0}
            assert not any(row["terms"] or "extra/total" in row for row in (*solves, *metas))
    assert 0 < gated < 8
    by_step = {row["step"]: row for row in figures(tmp_path / "first")}
    assert sum(by_step[step]["masa/gated"] for step in range(2, 6)) == gated
    assert any(row["masa/rows_cut"] > 0 for row in by_step.values())
    assert by_step[1]["masa/solve_tokens"] > max(by_step[step]["masa/solve_tokens"] for step in range(2, 6))
    run(made, RunDir(tmp_path / "second"))
    assert rows_of(tmp_path / "second") == rows


def test_a_kill_between_the_passes_goes_on_to_the_same_rows(
    student_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = masa_recipe(student_folder, steps=4, sequential_after=0)
    run(made, RunDir(tmp_path / "whole"))
    sample, calls = grpo_rollouts.sample_by_student, []

    def dies(*given: Any, **settings: Any) -> Iterable[Any]:
        calls.append(given[1])
        if len(calls) == 6:
            # the forecasts of step 3 are written, its solutions are not
            assert settings["limits"] is not None
            assert "Do not answer" not in given[1][0][0]["content"]
            raise KeyboardInterrupt
        return sample(*given, **settings)

    monkeypatch.setattr(grpo_rollouts, "sample_by_student", dies)
    with pytest.raises(KeyboardInterrupt):
        run(made, RunDir(tmp_path / "killed"))
    assert {row["step"] for row in rows_of(tmp_path / "killed")} == {1, 2}
    monkeypatch.setattr(grpo_rollouts, "sample_by_student", sample)
    said = run(made, RunDir(tmp_path / "killed"))
    assert "going on from" in said
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "whole")
    ours, theirs = (
        load_file(tmp_path / name / "grpo/adapter/adapter_model.safetensors") for name in ("killed", "whole")
    )
    assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)


def test_off_means_off(student_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(recipe(student_folder), RunDir(tmp_path / "law"))
    # as it was before steps could have passes, figures or forecasts
    monkeypatch.setattr(training, "passes_by", lambda *_, **__: None)
    run(recipe(student_folder), RunDir(tmp_path / "before"))
    rows, steps = rows_of(tmp_path / "law"), figures(tmp_path / "law")
    assert rows == rows_of(tmp_path / "before")
    assert [row["loss"] for row in steps] == [row["loss"] for row in figures(tmp_path / "before")]
    ours, theirs = (load_file(tmp_path / name / "grpo/adapter/adapter_model.safetensors") for name in ("law", "before"))
    assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)
    assert not any("kind" in row or any(key.startswith("extra/") for key in row) for row in rows)
    assert not any(key.startswith("masa/") for row in steps for key in row)


def test_the_plan_counts_both_groups(student_folder: Path, tmp_path: Path) -> None:
    assert grpo.plan(masa_recipe(student_folder, steps=3), RunDir(tmp_path))[:2] == [
        "grpo: 3 steps of 2 questions x 2 prompts x 4 completions",
        "grpo: 48 rollouts, as many as method law has with grpo.group_size 8",
    ]
